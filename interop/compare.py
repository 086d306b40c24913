"""Plays random requests to two API servers, and says where their answers differ.

One is ours, the other a real kube-apiserver; both get the same requests, in a new namespace for each seed.
What a server makes up by itself is renamed: uids by the generation of the object, versions and times all to one
word. After a write that was answered otherwise the object is removed from both, so that one difference does not
make others.

As equal count: the order of members in an object that a message quotes, the order of several errors of an apply
(upstream's is any), the name of a Go scheme and the prefix of a storage key, what is inside of a page's token, and our
warning that a Deployment is only stored.

    interop/kube-apiserver/with sh -c 'python3 interop/compare.py ours.kubeconfig $INCUMBENT_TEST_KUBECONFIG'

Needs PyYAML, which target/interop/python has.
"""

import argparse
import base64
import collections
import json
import random
import re
import ssl
import sys
import time
import urllib.error
import urllib.request

import yaml

KINDS = {
    "configmaps": ("/api/v1", "v1", "ConfigMap"),
    "leases": ("/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1", "Lease"),
    "deployments": ("/apis/apps/v1", "apps/v1", "Deployment"),
}


# What our server says of itself.
NOTE = "this development server only stores"

UID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NO_UID = "11111111-1111-1111-1111-111111111111"

FINALIZERS = [
    ["x.y/z"], ["x.y/z"], ["a.b/c", "x.y/z"], ["nodots"], [""], ["orphan"], ["orphan", "foregroundDeletion"],
    ["x.y/" + "f" * 64],
]
POD = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
CONTROLLER = {**POD, "controller": True}
OWNERS = [
    [{}], [POD], [CONTROLLER], [CONTROLLER, {**POD, "controller": False}], [CONTROLLER, {**CONTROLLER, "name": "q"}],
    [CONTROLLER, {**CONTROLLER, "name": "q", "blockOwnerDeletion": True}, CONTROLLER],
    [{**POD, "kind": "Event"}], [{**POD, "apiVersion": "a/b/c"}],
]
TIMES = [
    "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00Z", "x", None, "2026-01-01T00:00:00.123456789Z",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+01:00", "0001-01-01T00:00:00.000000Z",
    "2026-02-30T00:00:00.000000Z", "2026-01-01T24:00:00.000000Z", "2026-01-01T1:00:00.000000Z",
    "2026-01-01T00:00:00,000000Z", "2026-01-01T00:00:00.000000+25:00", "2026-01-01T00:00:00.000000Z ",
]

# The first of these that differs is what a difference counts as.
CATEGORIES = ["status code", "what is stored", "what is shown", "reason or causes", "warnings", "text"]


class Server:
    def __init__(self, kubeconfig):
        config = yaml.safe_load(open(kubeconfig))
        cluster = config["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=ca)
        self.url = cluster["server"]
        self.token = config["users"][0]["user"]["token"]
        # Of the objects that were seen stored.
        self.uids = {}

    def ask(self, method, path, body=None, content_type="application/json", accept=None):
        request = urllib.request.Request(self.url + path, method=method, data=body)
        request.add_header("Authorization", "Bearer " + self.token)
        request.add_header("User-Agent", "compare")
        if accept is not None:
            request.add_header("Accept", accept)
        if body is not None:
            request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=20) as answer:
                return answer.status, self.read(answer), self.warnings(answer)
        except urllib.error.HTTPError as answer:
            return answer.code, self.read(answer), self.warnings(answer)

    @staticmethod
    def warnings(answer):
        return [warning for warning in answer.headers.get_all("Warning") or [] if NOTE not in warning]

    @staticmethod
    def read(answer):
        body = answer.read().decode()
        try:
            return json.loads(body)
        except ValueError:
            return body

    def rename(self, value):
        """What this server makes up: uids, by the generations of the objects, versions and times."""
        if isinstance(value, dict):
            for item in [value, *value.get("items", [])]:
                # Sorted by time; a second may end between the two servers.
                item.get("metadata", {}).get("managedFields", []).sort(key=lambda entry: json.dumps(entry, sort_keys=True))
            if isinstance(value.get("message"), str):
                value["message"] = same_words(value["message"])
            for cause in value.get("details", {}).get("causes", []):
                cause["message"] = same_words(cause["message"])
        text = json.dumps(value, sort_keys=True)
        text = re.sub(UID, lambda found: self.uids.get(found[0], "a uid"), text)
        text = re.sub(r'(resourceVersion\\*": \\*"|resourceVersion\\*":\\*"|resourceVersion:|current: |\()\d+', r"\1rv", text)
        # A token is opaque.
        text = re.sub(r'"continue": "[^"]+"', '"continue": "token"', text)
        return re.sub(r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "time", text)

    def meet(self, kind, name, found):
        """Remembers the object as one more generation of its name, if it is."""
        generation = 1 + sum(known.startswith(f"uid of {kind} {name} ") for known in self.uids.values())
        self.uids.setdefault(found["metadata"]["uid"], f"uid of {kind} {name} {generation}")

    def forget(self, kind, name):
        self.uids = {uid: known for uid, known in self.uids.items() if not known.startswith(f"uid of {kind} {name} ")}


def same_words(message):
    """What differs from one build of a server, or from one moment, to the next."""
    message = re.sub(r'in scheme ".*"', "in its scheme", message)
    # As found in the cache, or in etcd.
    message = message.replace("Key: /registry/", "Key: /")
    # Upstream's order is any.
    head, *errors = message.split("errors:\n")
    message = head + "".join("errors: " + str(sorted(errors.split("\n"))) for errors in errors)
    # An object in a text, whose members may stand in any order.
    found = re.search(r'Invalid value: ("\{.*\}")', message)
    if found:
        inner = json.dumps(json.loads(json.loads(found[1])), sort_keys=True)
        message = message.replace(found[1], inner)
    return message


class Play:
    def __init__(self, seed, servers):
        self.random = random.Random(seed)
        self.servers = servers
        # A real server without its controllers never finishes to delete a namespace.
        self.namespace = f"compare-{seed}-{int(time.time()):x}"
        # What each server answered last, by object.
        self.known = [{}, {}]

    def run(self, steps):
        """The categories of what was answered otherwise."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        for server in self.servers:
            server.uids = {NO_UID: NO_UID}
            server.ask("POST", "/api/v1/namespaces", json.dumps(namespace).encode())
        differences = collections.Counter(filter(None, [self.step(number) for number in range(steps)]))
        for server in self.servers:
            server.ask("DELETE", f"/api/v1/namespaces/{self.namespace}")
        return differences

    def step(self, number):
        pick = self.random.choice
        kind, name = pick(list(KINDS)), pick(["a", "b"] * 15 + ["n" * 254, "N" * 300])
        seed = self.random.random()
        answers, asked = [], []
        for index, server in enumerate(self.servers):
            # The same draws for both; only versions and uids differ.
            asked.append(self.request(random.Random(seed), index, kind, name))
            answers.append(server.ask(*asked[-1]))
        is_tried = "dryRun=All" in asked[0][1]
        for index, (code, answer, _) in enumerate(answers):
            if code < 300 and isinstance(answer, dict) and answer.get("metadata", {}).get("uid") and not is_tried:
                self.servers[index].meet(kind, name, answer)
                if answers[0][0] == answers[1][0]:
                    self.known[index].setdefault((kind, name), []).append(answer)
        answers = [
            (code, server.rename(answer), warnings) for server, (code, answer, warnings) in zip(self.servers, answers)
        ]
        if answers[0] == answers[1]:
            return None
        method, path, body, content_type = asked[0]
        category = self.category(*answers, method != "GET" and not is_tried)
        print(f"-- {category}: {self.namespace} step {number}: {method} {path} {content_type} {(body or b'').decode()}")
        for answer in answers:
            print("  ", *answer)
        if method != "GET" and min(code for code, _, _ in answers) < 300:
            self.forget(kind, name)
        return category

    @staticmethod
    def category(ours, theirs, is_written):
        if ours[0] != theirs[0]:
            return "status code"
        if ours[0] < 300 and ours[1] != theirs[1]:
            return "what is stored" if is_written else "what is shown"
        if refusal(ours[1]) != refusal(theirs[1]):
            return "reason or causes"
        return "warnings" if ours[2] != theirs[2] else "text"

    def forget(self, kind, name):
        """Brings both to the same state."""
        path = f"{KINDS[kind][0]}/namespaces/{self.namespace}/{kind}/{name}"
        for server, known in zip(self.servers, self.known):
            server.ask("DELETE", path)
            server.ask("PATCH", path, b'{"metadata": {"finalizers": null}}', "application/merge-patch+json")
            server.forget(kind, name)
            known.pop((kind, name), None)

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
            "?resourceVersionMatch=x", "?resourceVersionMatch=Exact&continue=x", "?watch=1&resourceVersionMatch=Exact",
            "?watch=1&resourceVersionMatch=NotOlderThan", "?watch=1&sendInitialEvents=true", "?watch=1&resourceVersion=x",
            "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x",
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
        if draw.random() < 0.1:
            body.setdefault("metadata", {})["finalizers"] = draw.choice(FINALIZERS)
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
            metadata["uid"] = NO_UID
        elif spoil < 0.23:
            metadata["generateName"] = "g-"
        elif spoil < 0.29:
            metadata["finalizers"] = draw.choice(FINALIZERS)
        elif spoil < 0.32:
            metadata["ownerReferences"] = draw.choice(OWNERS)
        return body

    def content(self, draw, kind):
        metadata = draw.choice([
            {}, {"labels": {"team": "a"}}, {"labels": {"team": "b"}, "annotations": {"x/y": "1"}},
            {"labels": {"team": draw.choice(["-", "a b", 1, None, "x" * 64])}},
            {"annotations": {draw.choice(["a", "a/b/c", "", "A_b.c/d"]): draw.choice(["v", 1, None])}},
            {"labels": None}, {"creationTimestamp": None}, {"selfLink": "x"}, {"unknown": 1},
            {"labels": {draw.choice(["k" * 64, "p" * 254 + "/k", "P" * 300 + "/" + "-" * 64]): "v"}},
        ])
        content = {"metadata": dict(metadata)}
        if kind == "leases":
            content["spec"] = {}
            for field, values in {
                "holderIdentity": ["john", "jane", "", None, 5],
                "leaseDurationSeconds": [15, 1, 0, -1, "15", None, 1.5, 3000000000],
                "leaseTransitions": [0, 1, -1, None],
                "acquireTime": TIMES,
                "renewTime": ["2026-01-01T00:00:01.000001Z", "2026-01-01T01:00:00+01:00", "", None],
                "strategy": ["OldestEmulationVersion", "x", "x.y/z", "", None],
                "preferredHolder": ["jane", "", None],
                "unknown": [1, None],
            }.items():
                if draw.random() < 0.3:
                    # Mostly what is valid.
                    content["spec"][field] = values[0] if draw.random() < 0.7 else draw.choice(values)
        elif kind == "deployments":
            content["spec"] = self.deployment(draw)
        else:
            if draw.random() < 0.6:
                content["data"] = draw.choice([{"leader": "jane"}, {"leader": ""}, {"k": "v", "x": None}, {"a b": "v"}, {"k": 1}, None, {}, [], {"": "x"}, {"k" * 254: "v"}, {"!" * 300: "v"}])
            if draw.random() < 0.2:
                content["binaryData"] = draw.choice([{"b": "AAAA"}, {"b": "not base64!"}, {"leader": "AAAA"}])
            if draw.random() < 0.1:
                content["immutable"] = draw.choice([True, False, None, "x"])
        return content


    @staticmethod
    def deployment(draw):
        often = lambda usual, *others: usual if draw.random() < 0.9 else draw.choice(others)
        labels = {"app": often("x", "y")}
        container = {"name": often("app", "", "A b", 1), "image": draw.choice(["app:1", "app", "other:2"])}
        if draw.random() < 0.3:
            container["env"] = [{"name": "X", "value": draw.choice(["1", ""])}, {"name": draw.choice(["Y", "Z"]), "value": "2"}]
        if draw.random() < 0.3:
            container["ports"] = [{"containerPort": often(80, "80", None), "name": "http"}]
        if draw.random() < 0.3:
            container["livenessProbe"] = {"httpGet": {"port": draw.choice([80, "http"]), often("path", "pth"): "/x"}}
        if draw.random() < 0.2:
            container["resources"] = {"limits": {"memory": often("64Mi", "much", True)}}
        pod = {"containers": [container], often("serviceAccountName", "serviceAccountNam"): "s"}
        if draw.random() < 0.2:
            pod["volumes"] = [{"name": "v", often("emptyDir", "empyDir"): {}}]
        spec = {"template": {"metadata": {"labels": labels}, "spec": pod}}
        if draw.random() < 0.95:
            spec["selector"] = {"matchLabels": {"app": "x"}}
        if draw.random() < 0.5:
            spec["replicas"] = often(draw.choice([1, 3]), -1, "3", None)
        return spec


def refusal(text):
    """Reason, and what is wrong with which field."""
    answer = json.loads(text)
    if not isinstance(answer, dict):
        return None
    details = answer.get("details", {})
    causes = [(cause.get("reason"), cause.get("field")) for cause in details.get("causes", [])]
    return answer.get("reason"), details.get("name"), details.get("kind"), details.get("group"), causes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ours")
    parser.add_argument("theirs")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    servers = [Server(args.ours), Server(args.theirs)]
    differences = collections.Counter()
    for seed in range(args.first, args.first + args.seeds):
        differences += Play(seed, servers).run(args.steps)
    print(f"{args.seeds * args.steps} requests, {differences.total()} answered otherwise", file=sys.stderr)
    for category in CATEGORIES:
        print(f"  {differences[category]:5} {category}", file=sys.stderr)
    sys.exit(differences.total() > 0)


if __name__ == "__main__":
    main()
