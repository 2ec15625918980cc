// Command demo shows Longhaul at work on this machine: 12 messages, one Job for each, at most 4 at once.
//
//	go run ./test/demo                     with a Redis of its own
//	BROKER=rabbitmq go run ./test/demo     with a RabbitMQ, which has to be installed
//	DEMO=longpoll go run ./test/demo       with consumers that stay up, sized to the backlog
//	DEMO_KEEP=1 go run ./test/demo         and leave everything up
//	go run ./test/demo stop                end what was left up
//
// It builds what it needs, starts each part as a user would, and ends them all. The run folder has the state and
// the logs of one run. It is in .local/demo, or in the folder that DEMO_DIR names, and goes when the run has gone well.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

const usage = `usage: go run ./test/demo [stop]

Transcodes 12 clips on this machine, with 12 Jobs or with consumers that stay up. With stop, ends what an earlier one with DEMO_KEEP=1 left up.
Environment:
  DEMO=jobs|longpoll      what to show: a Job for each clip, or consumers that are sized to the backlog; jobs
  BROKER=redis|rabbitmq   where the messages wait; redis
  DEMO_KEEP=1|0           leave everything up, and say how to use it; 0
  DEMO_DIR=FOLDER         where the state and logs are; .local/demo
  NO_COLOR=1              plain lines, as without a terminal
`

// The exit codes.
const (
	failed      = 1
	misused     = 2
	interrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends this process at once, and the kernel its parts
	// Whatever client libraries have to say would be in the way of what is shown.
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	os.Exit(command(ctx, os.Args[1:]))
}

// command does what the arguments say and returns the exit code.
func command(ctx context.Context, args []string) int {
	var err error
	switch {
	case len(args) == 0:
		err = demonstrate(ctx)
	case len(args) == 1 && args[0] == "stop":
		err = stopKept(ctx)
	case len(args) == 3 && args[0] == serveCommand:
		err = serve(ctx, brokerKind(args[1]), args[2])
	default:
		fmt.Fprint(os.Stderr, usage)
		return misused
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errMisused):
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return misused
	case errors.Is(err, errInterrupted):
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return interrupted
	default:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return failed
	}
}

var (
	// errMisused is in the error of a setting that makes no sense.
	errMisused = errors.New("cannot be done")
	// errInterrupted is what comes of a demo that somebody ends.
	errInterrupted = errors.New("interrupted")
)

// settings are what the environment says.
type settings struct {
	broker   brokerKind
	keep     bool
	longpoll bool
	// root is the repository, base the folder that run folders are made in.
	root, base string
}

func readSettings(ctx context.Context) (settings, error) {
	s := settings{broker: brokerKind(os.Getenv("BROKER")), base: os.Getenv("DEMO_DIR")}
	if s.broker == "" {
		s.broker = redisBroker
	}
	if s.broker != redisBroker && s.broker != rabbitBroker {
		return s, fmt.Errorf("BROKER=%s %w: give redis or rabbitmq", string(s.broker), errMisused)
	}
	switch what := os.Getenv("DEMO"); what {
	case "", "jobs":
	case "longpoll":
		s.longpoll = true
	default:
		return s, fmt.Errorf("DEMO=%s %w: give jobs or longpoll", what, errMisused)
	}
	var err error
	if keep := os.Getenv("DEMO_KEEP"); keep != "" {
		if s.keep, err = strconv.ParseBool(keep); err != nil {
			return s, fmt.Errorf("DEMO_KEEP=%s %w: give 1 to leave everything up, or 0", keep, errMisused)
		}
	}
	if s.root, err = repository(ctx); err != nil {
		return s, err
	}
	if s.base == "" {
		s.base = filepath.Join(s.root, ".local", "demo")
	}
	if s.base, err = filepath.Abs(s.base); err != nil {
		return s, fmt.Errorf("resolving DEMO_DIR: %w", err)
	}
	return s, nil
}
