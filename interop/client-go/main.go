// A candidate over client-go's leaderelection, for elections that it shares with ours.
//
// It prints what `incumbent elect` prints: one JSON object a line with time, event and identity. It
// campaigns again after each loss, and releases at SIGTERM when told to, as client-go does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

var (
	kubeconfig    = flag.String("kubeconfig", "", "the kubeconfig to read")
	namespace     = flag.String("namespace", "default", "the namespace of the lock")
	lock          = flag.String("lock", "", "the name of the Lease")
	identity      = flag.String("identity", "", "the name others see")
	leaseDuration = flag.Duration("lease-duration", 15*time.Second, "how long followers wait after a renewal")
	renewDeadline = flag.Duration("renew-deadline", 10*time.Second, "how long a leader keeps trying to renew")
	retryPeriod   = flag.Duration("retry-period", 2*time.Second, "how long to wait between tries")
	release       = flag.Bool("release", true, "release the lock at the end, also after a failed renewal")
	actEvery      = flag.Duration("act-every", 5*time.Millisecond, "while leading, print a line this often; never if 0")
	elections     = flag.Int("elections", 1, "take part in this many, whose locks have a number at the end of their names")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	if *elections > 1 {
		// The limit of five requests a second is the client's own, and no elector's.
		config.QPS = -1
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if *elections == 1 {
		return campaign(ctx, client, *lock)
	}
	outcomes := make(chan error)
	for number := range *elections {
		go func() { outcomes <- campaign(ctx, client, fmt.Sprintf("%s-%d", *lock, number)) }()
	}
	for range *elections {
		err = errors.Join(err, <-outcomes)
	}
	return err
}

func campaign(ctx context.Context, client kubernetes.Interface, lock string) error {
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: *namespace, Name: lock},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: *identity},
			},
			LeaseDuration:   *leaseDuration,
			RenewDeadline:   *renewDeadline,
			RetryPeriod:     *retryPeriod,
			ReleaseOnCancel: *release,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: act,
				// Called after the context of the work has ended, and also where there was none.
				OnStoppedLeading: func() { report(context.Background(), "stopped", "") },
				OnNewLeader: func(leader string) {
					if leader != *identity {
						report(ctx, "following", leader)
					}
				},
			},
		})
		if err != nil {
			return err
		}
		elector.Run(ctx)
	}
	return nil
}

// act does what a leader does in this program, until it is told to stop.
func act(ctx context.Context) {
	report(ctx, "leading", *identity)
	if *actEvery == 0 {
		return
	}
	ticks := time.NewTicker(*actEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			report(ctx, "acting", *identity)
		}
	}
}

var output sync.Mutex

// report prints a line, unless ctx has ended.
func report(ctx context.Context, event, leader string) {
	output.Lock()
	defer output.Unlock()
	if ctx.Err() != nil {
		return
	}
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	line, _ := json.Marshal(map[string]any{
		"time": now, "event": event, "identity": *identity, "leader": leader,
	})
	fmt.Println(string(line))
}
