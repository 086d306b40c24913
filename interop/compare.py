"""Plays random requests to two API servers, and says where their answers differ.

One is ours, the other a real kube-apiserver; each gets the same requests in a namespace of its own. What
each server makes up by itself (versions, uids, times) is renamed in the order in which it appears.

    interop/kube-apiserver/with sh -c 'python3 interop/compare.py ours.kubeconfig $INCUMBENT_TEST_KUBECONFIG'

Needs PyYAML, which target/interop/python has.
"""

import argparse
import base64
import json
import random
import re
import ssl
import sys
import urllib.error
import urllib.request

import yaml

KINDS = {
    "configmaps": ("/api/v1", "v1", "ConfigMap"),
    "leases": ("/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1", "Lease"),
}


class Server:
    def __init__(self, kubeconfig):
        config = yaml.safe_load(open(kubeconfig))
        cluster = config["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=ca)
        self.url = cluster["server"]
        self.token = config["users"][0]["user"]["token"]
        self.names = {}

    def ask(self, method, path, body=None, content_type="application/json"):
        request = urllib.request.Request(self.url + path, method=method, data=body)
        request.add_header("Authorization", "Bearer " + self.token)
        request.add_header("User-Agent", "compare")
        if body is not None:
            request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=20) as answer:
                return answer.status, self.read(answer), answer.headers.get_all("Warning") or []
        except urllib.error.HTTPError as answer:
            return answer.code, self.read(answer), answer.headers.get_all("Warning") or []

    @staticmethod
    def read(answer):
        body = answer.read().decode()
        try:
            return json.loads(body)
        except ValueError:
            return body

    def rename(self, value):
        """Versions, uids and times, by the order in which they appear."""
        text = json.dumps(value, sort_keys=True)
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", self.name("uid"), text)
        text = re.sub(r'"resourceVersion": "\d+"', lambda found: '"resourceVersion": "rv"', text)
        text = re.sub(r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "time", text)
        return text

    def name(self, kind):
        return lambda found: self.names.setdefault(found[0], f"{kind}-{len(self.names)}")


class Play:
    def __init__(self, seed, servers):
        self.random = random.Random(seed)
        self.servers = servers
        self.namespace = f"compare-{seed}"
        # What each server answered last, by object.
        self.known = [{}, {}]

    def run(self, steps):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        for server in self.servers:
            server.ask("POST", "/api/v1/namespaces", json.dumps(namespace).encode())
        differences = 0
        for number in range(steps):
            differences += self.step(number)
        for server in self.servers:
            server.ask("DELETE", f"/api/v1/namespaces/{self.namespace}")
        return differences

    def step(self, number):
        pick = self.random.choice
        kind, name = pick(list(KINDS)), pick(["a", "b"])
        seed = self.random.random()
        answers, asked = [], None
        for index, server in enumerate(self.servers):
            # The same draws for both; only versions and uids differ.
            method, path, body, content_type = self.request(random.Random(seed), index, kind, name)
            code, answer, warnings = server.ask(method, path, body, content_type)
            if code < 300 and isinstance(answer, dict) and answer.get("metadata", {}).get("uid"):
                self.known[index].setdefault((kind, name), []).append(answer)
            answers.append((code, server.rename(answer), warnings))
            asked = asked or f"{method} {path} {content_type} {body.decode() if body else ''}"
        if answers[0] == answers[1]:
            return 0
        print(f"-- {self.namespace} step {number}: {asked}")
        for answer in answers:
            print("  ", *answer)
        return 1

    def request(self, draw, index, kind, name):
        prefix, api_version, kind_name = KINDS[kind]
        collection = f"{prefix}/namespaces/{self.namespace}/{kind}"
        known = self.known[index].get((kind, name), [])
        query = draw.choice(["", "", "", "?dryRun=All", "?fieldValidation=Strict", "?fieldManager=x", "?pretty=0"])
        what = draw.choice(["post", "put", "put", "put", "patch", "patch", "patch", "delete", "get", "list", "apply"])
        if what == "get":
            version = draw.choice(["", "", "?resourceVersion=0", "?resourceVersion=x", "?resourceVersion=1"])
            return "GET", f"{collection}/{name}{version}", None, None
        if what == "list":
            return "GET", collection + self.listing(draw), None, None
        if what == "delete":
            return "DELETE", f"{collection}/{name}", self.deletion(draw, known), "application/json"
        if what == "patch":
            return self.patch(draw, f"{collection}/{name}{query}", kind, known)
        if what == "apply":
            manager = draw.choice(["m1", "m2"])
            force = draw.choice(["", "&force=true", "&force=false"])
            path = f"{collection}/{name}?fieldManager={manager}{force}"
            body = {"apiVersion": api_version, "kind": kind_name, **self.content(draw, kind)}
            body.setdefault("metadata", {})["name"] = name
            return "PATCH", path, json.dumps(body).encode(), "application/apply-patch+yaml"
        body = self.object(draw, kind, name, known)
        if what == "post":
            return "POST", collection + query, json.dumps(body).encode(), "application/json"
        return "PUT", f"{collection}/{name}{query}", json.dumps(body).encode(), "application/json"

    def listing(self, draw):
        return draw.choice([
            "", "?labelSelector=team%3Da", "?labelSelector=team!%3Da", "?labelSelector=!team",
            "?labelSelector=team+in+(a,b)", "?labelSelector=team%3D%3D", "?labelSelector=a+b", "?limit=1",
            "?fieldSelector=metadata.name%3Da", "?fieldSelector=metadata.name!%3Da", "?fieldSelector=spec.x%3Da",
            "?fieldSelector=metadata.namespace%3Ddefault", "?resourceVersion=0", "?resourceVersion=x",
            "?resourceVersionMatch=Exact", "?resourceVersionMatch=NotOlderThan", "?limit=x", "?continue=x",
            "?resourceVersion=0&resourceVersionMatch=Exact", "?sendInitialEvents=true", "?limit=-1",
        ])

    def deletion(self, draw, known):
        last = {"uid": "x", "resourceVersion": "1", **(known[-1]["metadata"] if known else {})}
        first = {**last, **(known[0]["metadata"] if known else {})}
        conditions = draw.choice([
            None, None, {}, {"uid": last["uid"]}, {"uid": "other"}, {"resourceVersion": last["resourceVersion"]},
            {"resourceVersion": first["resourceVersion"], "uid": first["uid"]},
        ])
        if conditions is None:
            return None
        return json.dumps({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": conditions}).encode()

    def patch(self, draw, path, kind, known):
        content_type = draw.choice([
            "application/merge-patch+json", "application/strategic-merge-patch+json",
            "application/json-patch+json", "application/json-patch+json", "text/plain",
        ])
        if "json-patch+json" in content_type and "merge" not in content_type:
            return "PATCH", path, json.dumps(self.json_patch(draw)).encode(), content_type
        body = self.content(draw, kind)
        if known and draw.random() < 0.3:
            body.setdefault("metadata", {})["resourceVersion"] = draw.choice(known)["metadata"].get("resourceVersion", "1")
        if draw.random() < 0.2:
            body.setdefault("metadata", {})["labels"] = {"team": None}
        if draw.random() < 0.1:
            body.setdefault("metadata", {})["name"] = "other"
        if draw.random() < 0.1:
            body["metadata"] = {"annotations": None}
        return "PATCH", path, json.dumps(body).encode(), content_type

    def json_patch(self, draw):
        operations = [
            {"op": "add", "path": "/metadata/labels", "value": {"team": "b"}},
            {"op": "replace", "path": "/metadata/labels/team", "value": "c"},
            {"op": "remove", "path": "/metadata/labels/team"},
            {"op": "test", "path": "/metadata/name", "value": draw.choice(["a", "b"])},
            {"op": "add", "path": "/data", "value": {"k": "v"}},
            {"op": "copy", "from": "/metadata/name", "path": "/metadata/labels/name"},
            {"op": "move", "from": "/metadata/labels/name", "path": "/metadata/labels/x"},
            {"op": "replace", "path": "/nowhere/x", "value": 1},
            {"op": "jump", "path": "/metadata"},
            {"path": "/metadata/labels/y", "op": "add", "value": "1"},
        ]
        return draw.sample(operations, draw.choice([1, 1, 2, 3]))

    def object(self, draw, kind, name, known):
        _, api_version, kind_name = KINDS[kind]
        body = {"apiVersion": api_version, "kind": kind_name, **self.content(draw, kind)}
        metadata = body.setdefault("metadata", {})
        metadata["name"] = name
        if known:
            version = {"resourceVersion": "1", **draw.choice(known[-3:])["metadata"]}
            if draw.random() < 0.7:
                metadata["resourceVersion"] = version["resourceVersion"]
            if draw.random() < 0.5:
                metadata["uid"] = version["uid"]
        spoil = draw.random()
        if spoil < 0.03:
            metadata["name"] = "other"
        elif spoil < 0.06:
            metadata["namespace"] = "default"
        elif spoil < 0.09:
            body["kind"] = "Pod"
        elif spoil < 0.12:
            body["apiVersion"] = "v2"
        elif spoil < 0.15:
            del metadata["name"]
        elif spoil < 0.18:
            metadata["resourceVersion"] = draw.choice(["0", "x", "", "999999999"])
        elif spoil < 0.21:
            metadata["uid"] = "11111111-1111-1111-1111-111111111111"
        elif spoil < 0.23:
            metadata["generateName"] = "g-"
        elif spoil < 0.25:
            metadata["finalizers"] = [draw.choice(["x.y/z", "nodots", ""])]
        elif spoil < 0.27:
            metadata["ownerReferences"] = [draw.choice([{}, {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}])]
        return body

    def content(self, draw, kind):
        metadata = draw.choice([
            {}, {"labels": {"team": "a"}}, {"labels": {"team": "b"}, "annotations": {"x/y": "1"}},
            {"labels": {"team": draw.choice(["-", "a b", 1, None, "x" * 64])}},
            {"annotations": {draw.choice(["a", "a/b/c", "", "A_b.c/d"]): draw.choice(["v", 1, None])}},
            {"labels": None}, {"creationTimestamp": None}, {"selfLink": "x"}, {"unknown": 1},
        ])
        content = {"metadata": dict(metadata)}
        if kind == "leases":
            content["spec"] = {}
            for field, values in {
                "holderIdentity": ["john", "jane", "", None, 5],
                "leaseDurationSeconds": [15, 1, 0, -1, "15", None, 1.5, 3000000000],
                "leaseTransitions": [0, 1, -1, None],
                "acquireTime": ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00Z", "x", None, "2026-01-01T00:00:00.123456789Z"],
                "renewTime": ["2026-01-01T00:00:01.000001Z", "2026-01-01T01:00:00+01:00", "", None],
                "unknown": [1, None],
            }.items():
                if draw.random() < 0.3:
                    # Mostly what is valid.
                    content["spec"][field] = values[0] if draw.random() < 0.7 else draw.choice(values)
        else:
            if draw.random() < 0.6:
                content["data"] = draw.choice([{"leader": "jane"}, {"leader": ""}, {"k": "v", "x": None}, {"a b": "v"}, {"k": 1}, None, {}, [], {"": "x"}])
            if draw.random() < 0.2:
                content["binaryData"] = draw.choice([{"b": "AAAA"}, {"b": "not base64!"}, {"leader": "AAAA"}])
            if draw.random() < 0.1:
                content["immutable"] = draw.choice([True, False, None, "x"])
        return content


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ours")
    parser.add_argument("theirs")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    servers = [Server(args.ours), Server(args.theirs)]
    differences = 0
    for seed in range(args.first, args.first + args.seeds):
        differences += Play(seed, servers).run(args.steps)
    print(f"{args.seeds * args.steps} requests, {differences} answered otherwise", file=sys.stderr)
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
