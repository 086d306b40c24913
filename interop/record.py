"""Plays the requests of a transcript to a real kube-apiserver, and writes down what it answers.

The transcript is rewritten in place. What the server makes up becomes a token, numbered by first sight: `${uid1}`
for a uid, `${rv1}` for a resourceVersion, `${time1}` for a time of now; later requests may use these tokens.
managedFields are left out. A step that watches, or asks as somebody else, is played and recorded by hand.

    interop/kube-apiserver/with sh -c 'python3 interop/record.py TRANSCRIPT.json $INCUMBENT_TEST_KUBECONFIG'

Needs PyYAML, which target/interop/python has. `crates/incumbent-apiserver/tests/transcripts.rs` plays what is
recorded against our server.
"""

import datetime
import json
import re
import sys

from compare import UID, Server


class Tokens:
    """The values behind the tokens, and the way from one to the other."""

    def __init__(self, asked):
        self.token_of = {}
        # What the requests say is not made up.
        self.asked = asked

    def meet(self, kind, value):
        if value in self.asked:
            return
        known = sum(token.startswith("${" + kind) for token in self.token_of.values())
        self.token_of.setdefault(value, "${%s%d}" % (kind, known + 1))

    def learn(self, value):
        """Gives a token to all that the server made up in an answer."""
        if isinstance(value, list):
            for item in value:
                self.learn(item)
        if not isinstance(value, dict):
            return
        for key, inner in value.items():
            if key == "uid" and isinstance(inner, str) and re.fullmatch(UID, inner):
                self.meet("uid", inner)
            elif key == "resourceVersion" and isinstance(inner, str) and inner not in ("", "0"):
                self.meet("rv", inner)
            elif isinstance(inner, str) and is_recent(inner):
                self.meet("time", inner)
            elif key not in ("spec", "data"):
                self.learn(inner)

    def hide(self, value):
        if isinstance(value, dict):
            return {key: self.hide(inner) for key, inner in value.items() if key != "managedFields"}
        if isinstance(value, list):
            return [self.hide(inner) for inner in value]
        if not isinstance(value, str):
            return value
        if value in self.token_of:
            return self.token_of[value]
        for known, token in self.token_of.items():
            if not token.startswith("${rv"):
                value = value.replace(known, token)
        return value

    def fill(self, value):
        text = json.dumps(value)
        for known, token in self.token_of.items():
            text = text.replace(token, known)
        return json.loads(text)


def is_recent(text):
    try:
        time = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return abs(time - datetime.datetime.utcnow()) < datetime.timedelta(hours=1)


def main():
    file, kubeconfig = sys.argv[1:]
    transcript = json.load(open(file))
    server = Server(kubeconfig)
    tokens = Tokens(json.dumps([step["request"] for step in transcript["steps"]]))
    for step in transcript["steps"]:
        request = step["request"]
        assert "watchSeconds" not in step and "as" not in request, "this step is recorded by hand"
        body = json.dumps(tokens.fill(request["body"])) if "body" in request else request.get("rawBody")
        status, answer, warnings = server.ask(
            request["method"],
            tokens.fill(request["path"]),
            body.encode() if body is not None else None,
            request.get("contentType", "application/json"),
            request.get("accept"),
        )
        tokens.learn(answer)
        is_text = isinstance(answer, str)
        content_type = "text/plain" if is_text else "application/json"
        step["response"] = {"status": status, "contentType": content_type, "body": tokens.hide(answer)}
        step["response"]["warnings"] = warnings
    with open(file, "w") as out:
        json.dump(transcript, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
