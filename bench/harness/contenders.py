"""Who competes, how each is started, and what has to be known of it to read the figures fairly."""
import os
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
INTEROP = os.path.join(TARGET, "interop")


@dataclass(frozen=True)
class Seat:
    """What a contender is started for."""

    kubeconfig: str
    lock: str
    identity: str
    lease: int
    act_ms: int = 0
    elections: int = 1
    candidates: int = 1


@dataclass(frozen=True)
class Contender:
    """One way to elect a leader."""

    name: str
    key: str
    program: str
    command: callable
    says: str
    is_ours: bool = False
    # Gives the lock back when it is told to stop.
    releases: bool = True
    # Lets its program know that it takes part while somebody else leads.
    tells: bool = True
    # Expects its Lease to be there.
    needs_lease: bool = False
    # Takes part in several elections, and with several candidates, in one process.
    is_many: bool = True


def programs(profile):
    """Where cargo has put what it built, in `release` or `debug`."""
    return lambda name: os.path.join(TARGET, profile, name)


def contenders(profile):
    """All of them, ours first."""
    built = programs(profile)
    incumbent, worker = built("incumbent"), built("bench-worker")
    client_go = os.path.join(INTEROP, "client-go")
    python = os.path.join(INTEROP, "python", "bin", "python")

    def rust(program):
        return lambda seat: [
            program, "--kubeconfig", seat.kubeconfig, "--lock", seat.lock,
            "--identity", seat.identity, "--lease-duration", seat.lease,
            "--act-every-ms", seat.act_ms, "--elections", seat.elections,
            "--candidates", seat.candidates]

    def run(seat):
        return [incumbent, "run", "--kubeconfig", seat.kubeconfig, "--lock", f"lease/{seat.lock}",
                "--identity", seat.identity, "--lease-duration", f"{seat.lease}s",
                "--", worker, seat.act_ms]

    def go(seat):
        return [client_go, "-kubeconfig", seat.kubeconfig, "-lock", seat.lock,
                "-identity", seat.identity, "-lease-duration", f"{seat.lease}s",
                "-renew-deadline", f"{seat.lease * 1000 * 2 // 3}ms",
                "-retry-period", f"{seat.lease * 1000 * 2 // 15}ms",
                "-act-every", f"{seat.act_ms}ms", "-elections", seat.elections,
                "-candidates", seat.candidates]

    def py(seat):
        return [python, os.path.join(ROOT, "interop", "python", "candidate.py"),
                "--kubeconfig", seat.kubeconfig, "--lock", f"lease/{seat.lock}",
                "--identity", seat.identity, "--lease-duration", seat.lease,
                "--renew-deadline", seat.lease * 2 // 3,
                "--retry-period", max(1, seat.lease * 2 // 15), "--act-every", seat.act_ms / 1000]

    library = built("bench-library")
    kle, klm, kubert = (built(f"peer-{name}")
                        for name in ("kube-leader-election", "kube-lease-manager", "kubert"))
    return [
        Contender("incumbent", "library", library, rust(library), is_ours=True, says=(
            "watches; renews every 5 s of 15; may act for 10 s after a renewal was sent, and has "
            "ended its work by force before 14.7 s")),
        Contender("incumbent run", "run", incumbent, run, is_ours=True, tells=False,
                  is_many=False, says=(
            "the same around a command, which a guardian process ends in time")),
        Contender("client-go 0.37.2", "client-go", client_go, go, says=(
            "polls every 2 to 4.4 s; renews every 2 s; gives up 10 s after the last success by a "
            "timer that does not run while the process is stopped; releases on cancel, which it does "
            "before it has told the work to stop")),
        Contender("kube-leader-election 0.44", "kle", kle, rust(kle), says=(
            "one call, made every 2 s here (every 5 s in its example); no deadline of its own, and "
            "writes without a version, which it says of itself")),
        Contender("kube-lease-manager 0.13.1", "klm", klm, rust(klm), says=(
            "sleeps until the lease that it saw ends, and so does not notice a release before; renews "
            "5 s before the end; has no deadline of its own")),
        Contender("kubert 0.25 lease", "kubert", kubert, rust(kubert), needs_lease=True, says=(
            "the same, but the claim that it shows expires by itself, on the wall clock; 10 s time-out "
            "for each request")),
        Contender("Python client 37.0.2", "python", python, py, releases=False,
                  tells=False, is_many=False, says=(
            "polls every 2 s; no release; each request has a deadline of 1 s here, which the client "
            "does not set by itself")),
    ]
