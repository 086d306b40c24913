"""The API server: one of ours for each need, or the one that a kubeconfig names; and a cable to it."""
import asyncio
import json
import os
import re
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter

from .processes import Process

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

# As HTTP names what is asked; a watch is a GET that stays open.
VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT",
         "patch": "PATCH", "apply": "PATCH"}


class Server:
    """What the contenders talk to."""

    def __init__(self, kubeconfig, process=None):
        self.kubeconfig, self.process = kubeconfig, process
        text = open(kubeconfig).read()
        self.url, token = (re.search(rf'{field}"?: *"?([^\s",}}]+)', text)[1]
                           for field in ("server", "token"))
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._context = ssl.create_default_context()
        # On loopback, or by a kubeconfig that the user trusts with more than reading counts.
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    @staticmethod
    def start(program):
        """One of ours, alone, on a free port."""
        kubeconfig = os.path.join(tempfile.mkdtemp(prefix="incumbent-bench-"), "kubeconfig")
        process = Process([program, "dev-server", "--kubeconfig", kubeconfig])
        until = time.monotonic() + 20
        while not (os.path.exists(kubeconfig) and os.path.getsize(kubeconfig)):
            if time.monotonic() > until or process.has_ended():
                raise RuntimeError(f"the API server did not start: {process.complaint()}")
            time.sleep(0.02)
        server = Server(kubeconfig, process)
        server.ask("GET", "/version")
        return server

    @property
    def is_ours(self):
        return self.process is not None

    def end(self):
        if self.process:
            self.process.end()
            os.unlink(self.kubeconfig)
            os.rmdir(os.path.dirname(self.kubeconfig))

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._headers, method=method)
        with urllib.request.urlopen(request, context=self._context, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def create_lease(self, name):
        """A vacant Lease, for those who do not make it themselves."""
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name}, "spec": {}}
        self.ask("POST", LEASES, body)

    def delete_leases(self):
        """All Leases of the namespace, so that no phase finds those of another."""
        self.ask("DELETE", LEASES)

    def delete_all(self, group):
        """All objects of a group."""
        self.ask("DELETE", f"{LEASES}?labelSelector=incumbent.dev/group={group}")
        self.ask("DELETE", f"{CONFIG_MAPS}?labelSelector=incumbent.dev/group={group}")
        self.ask("DELETE", f"{LEASES}/{group}")

    def put(self, collection, name, body):
        """Creates the object, or replaces it whatever it says."""
        try:
            self.ask("PUT", f"{collection}/{name}", body)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            self.ask("POST", collection, body)

    def leases(self):
        """What each Lease says."""
        return {lease["metadata"]["name"]: lease["spec"] for lease in self.ask("GET", LEASES)["items"]}

    def renewals(self):
        """When each lock was renewed, by its own words."""
        return {name: spec.get("renewTime") for name, spec in self.leases().items()}

    def counts(self, resources=("leases",)):
        """How many requests there were, by verb, and how many conflicts; of another server, of these resources."""
        return self._own_counts() if self.is_ours else self._upstream_counts(resources)

    def _own_counts(self):
        counts = Counter()
        for line in self.ask("GET", "/incumbent/requests")["requests"]:
            counts[VERBS.get(line["verb"], line["verb"].upper())] += line["count"]
            counts["conflicts"] += line["count"] if line["code"] == 409 else 0
        return counts

    def _upstream_counts(self, resources):
        """From kube-apiserver's metrics: it counts a watch when it ends, and its own Lease too."""
        counts = Counter()
        line = re.compile(r'^apiserver_request_total\{(.*)\} ([0-9.e+]+)$', re.M)
        for labels, value in line.findall(self.ask("GET", "/metrics")):
            label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if label.get("resource") in resources:
                counts[VERBS.get(label["verb"].lower(), label["verb"])] += int(float(value))
                counts["conflicts"] += int(float(value)) if label["code"] == "409" else 0
        return counts


class Cable:
    """A connection to the server that can be held: open, and silent in both directions."""

    _loop = None

    def __init__(self, server):
        if Cable._loop is None:
            Cable._loop = asyncio.new_event_loop()
            threading.Thread(target=Cable._loop.run_forever, daemon=True).start()
        there = urllib.parse.urlsplit(server.url)
        self._there, self._tasks = (there.hostname, there.port), set()
        port = self._run(self._listen())
        handle, self.kubeconfig = tempfile.mkstemp(prefix="incumbent-bench-")
        with os.fdopen(handle, "w") as file, open(server.kubeconfig) as original:
            file.write(original.read().replace(server.url, f"https://127.0.0.1:{port}"))

    def hold(self):
        Cable._loop.call_soon_threadsafe(self._flows.clear)

    def end(self):
        self._run(self._close())
        os.unlink(self.kubeconfig)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, Cable._loop).result(10)

    async def _listen(self):
        self._flows = asyncio.Event()
        self._flows.set()
        self._listening = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self._listening.sockets[0].getsockname()[1]

    async def _connect(self, near_reader, near_writer):
        self._keep(asyncio.current_task())
        try:
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._there)
        except (OSError, asyncio.CancelledError):
            return near_writer.close()
        for reader, writer in ((near_reader, far_writer), (far_reader, near_writer)):
            self._keep(asyncio.ensure_future(self._pump(reader, writer)))

    def _keep(self, task):
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader, writer):
        try:
            while chunk := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _close(self):
        self._listening.close()
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
