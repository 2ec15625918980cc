// Command transcode-worker is the sample worker: it takes one message, transcodes the clip that it names, and ends. A
// ScaledJob runs one of it for each message. README.md beside this file says what a message looks like, what the exit
// codes mean, and what it reads from its environment.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/worker"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		received := <-signals
		signal.Stop(signals) // a second one ends the process at once
		cancel(fmt.Errorf("%w by a signal: %s", worker.ErrStopped, received))
	}()
	err := newCommand(surroundings(), os.Stdout, os.Stderr).ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "transcode-worker:", err)
	}
	return worker.ExitCode(err)
}

// surroundings is the process's own environment.
func surroundings() environment {
	host, err := os.Hostname()
	if err != nil {
		host = "transcode-worker" // the process id makes it the taker's own, on this machine
	}
	exists := func(file string) bool {
		_, err := os.Stat(file)
		return err == nil
	}
	return environment{lookup: os.LookupEnv, exists: exists, host: host, pid: os.Getpid()}
}
