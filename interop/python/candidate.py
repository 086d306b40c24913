"""A candidate over the official Python client's leaderelection, for elections that it shares with ours.

It prints what `incumbent elect` prints: one JSON object a line with time, event and identity, and the
seconds on the boot-time clock. It campaigns again after each loss. At SIGTERM it ends; the client has no
release.
"""

import argparse
import datetime
import json
import logging
import threading
import time

from kubernetes import client, config
from kubernetes.client import rest
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

LOCKS = {"configmap": ConfigMapLock, "lease": LeaseLock}


class Candidate:
    def __init__(self, args):
        self.args = args
        self.output = threading.Lock()
        self.leads = False

    def report(self, event):
        """Prints a line; what only a leader does is left out once it has stopped."""
        with self.output:
            if event == "acting" and not self.leads:
                return
            if event == "leading":
                self.leads = True
            if event == "stopped":
                self.leads = False
            now = datetime.datetime.now(datetime.timezone.utc)
            line = {
                "time": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "at": time.clock_gettime(time.CLOCK_BOOTTIME),
                "event": event,
                "identity": self.args.identity,
            }
            print(json.dumps(line), flush=True)

    def act(self):
        self.report("leading")
        while self.leads and self.args.act_every:
            time.sleep(self.args.act_every)
            self.report("acting")

    def campaign(self):
        kind, name = self.args.lock.split("/")
        args = self.args
        election = electionconfig.Config(
            LOCKS[kind](name, args.namespace, args.identity),
            lease_duration=args.lease_duration,
            renew_deadline=args.renew_deadline,
            retry_period=args.retry_period,
            onstarted_leading=self.act,
            onstopped_leading=lambda: None,
        )
        try:
            leaderelection.LeaderElection(election).run()
        except Exception as error:  # An unreachable server raises out of run().
            logging.warning("the election ended: %s", error)
        self.report("stopped")
        time.sleep(args.retry_period)


def bound_requests(seconds):
    """Gives each request a deadline.

    The election asks for none, and the client has no setting for one. Without it a leader that is cut off
    waits for the answer to its renewal, and acts, for ever.
    """
    request = rest.RESTClientObject.request

    def bounded(*args, **kwargs):
        return request(*args, **{**kwargs, "_request_timeout": seconds})

    rest.RESTClientObject.request = bounded


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--lock", required=True, help="configmap/NAME or lease/NAME")
    parser.add_argument("--identity", required=True)
    parser.add_argument("--lease-duration", type=int, default=17)
    parser.add_argument("--renew-deadline", type=int, default=15)
    parser.add_argument("--retry-period", type=int, default=5)
    parser.add_argument("--act-every", type=float, default=0.005, help="seconds")
    args = parser.parse_args()

    config.load_kube_config(args.kubeconfig)
    settings = client.Configuration.get_default_copy()
    settings.retries = False
    client.Configuration.set_default(settings)
    bound_requests(seconds=1)

    candidate = Candidate(args)
    while True:
        candidate.campaign()


if __name__ == "__main__":
    main()
