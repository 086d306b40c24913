// A candidate over client-go's leaderelection, for elections that it shares with ours.
//
// It prints what `incumbent elect` prints: one JSON object a line with time, event and identity, and the
// seconds on the boot-time clock. It campaigns again after each loss, and releases at SIGTERM when told
// to, as client-go does. At SIGUSR1 whichever of its candidates leads leaves the election.
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
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	candidates    = flag.Int("candidates", 1, "with this many in each, whose identities have a number at their ends")
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
	if *elections > 1 || *candidates > 1 {
		// The limit of five requests a second is the client's own, and no elector's.
		config.QPS = -1
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var seats []*seat
	for election := range *elections {
		for number := range *candidates {
			ctx, leave := context.WithCancel(ctx)
			seats = append(seats, &seat{
				lock:     numbered(*lock, election, *elections),
				identity: numbered(*identity, number, *candidates),
				ctx:      ctx,
				leave:    leave,
			})
		}
	}
	go leaveWhenAsked(seats)
	outcomes := make(chan error)
	for _, seat := range seats {
		go func() { outcomes <- seat.campaign(client) }()
	}
	for range seats {
		err = errors.Join(err, <-outcomes)
	}
	return err
}

func numbered(name string, number, of int) string {
	if of == 1 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, number)
}

func leaveWhenAsked(seats []*seat) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	for range asked {
		for _, seat := range seats {
			if seat.leads.Load() {
				seat.leave()
			}
		}
	}
}

// One candidate of one election.
type seat struct {
	lock, identity string
	ctx            context.Context
	leave          context.CancelFunc
	leads          atomic.Bool
}

func (s *seat) campaign(client kubernetes.Interface) error {
	for s.ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: *namespace, Name: s.lock},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: s.identity},
			},
			LeaseDuration:   *leaseDuration,
			RenewDeadline:   *renewDeadline,
			RetryPeriod:     *retryPeriod,
			ReleaseOnCancel: *release,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: s.act,
				// Called after the context of the work has ended, and also where there was none.
				OnStoppedLeading: func() {
					s.leads.Store(false)
					s.report(context.Background(), "stopped", "")
				},
				OnNewLeader: func(leader string) {
					if leader != s.identity {
						s.report(s.ctx, "following", leader)
					}
				},
			},
		})
		if err != nil {
			return err
		}
		elector.Run(s.ctx)
	}
	return nil
}

// act does what a leader does in this program, until it is told to stop.
func (s *seat) act(ctx context.Context) {
	s.leads.Store(true)
	s.report(ctx, "leading", s.identity)
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
			s.report(ctx, "acting", s.identity)
		}
	}
}

var output sync.Mutex

// report prints a line, unless ctx has ended.
func (s *seat) report(ctx context.Context, event, leader string) {
	output.Lock()
	defer output.Unlock()
	if ctx.Err() != nil {
		return
	}
	var boot unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	line, _ := json.Marshal(map[string]any{
		"time": now, "at": float64(boot.Nano()/1000) / 1e6, "event": event, "lock": s.lock,
		"identity": s.identity, "leader": leader,
	})
	fmt.Println(string(line))
}
