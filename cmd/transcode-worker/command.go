package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/worker"
	consumer "github.com/longhaul-dev/longhaul/worker"
)

const longHelp = `Take one message, transcode the clip that it names, and end.

The broker is read from QUEUE_URI, such as amqp://host:5672/vhost or
redis://host:6379/0, and from QUEUE_USERNAME and QUEUE_PASSWORD where they are
not in it. Flags may be set by the variables that stand beside them. Each
variable may have a variant for one trigger of several: in a Job for the trigger
urgent, QUEUE_URGENT goes before QUEUE.

Exit codes: 0 done, 3 no message, 64 bad settings, 65 message rejected,
74 failed, 75 broker unreachable, 78 broker refuses, 143 stopped.`

// newCommand builds the command line. The broker's URI, user and password have no flag, since others can see command
// lines.
func newCommand(env environment, stdout, stderr io.Writer) *cobra.Command {
	s := worker.Settings{Log: stdout, StatusFiles: env.statusFiles()}
	s.Inbox.URI = env.get("QUEUE_URI")
	s.Inbox.Username, s.Inbox.Password = env.get("QUEUE_USERNAME"), env.get("QUEUE_PASSWORD")
	command := &cobra.Command{
		Use:           "transcode-worker",
		Short:         "Take one message, transcode the clip that it names, and end",
		Long:          longHelp,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := env.fill(cmd.Flags()); err != nil {
				return err
			}
			return worker.Run(cmd.Context(), s)
		},
	}
	command.CompletionOptions.DisableDefaultCmd = true
	command.SetOut(stdout)
	command.SetErr(stderr)
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	addFlags(command.Flags(), &s, env.taker())
	command.AddCommand(newMakeClip(), newConsume(env, &s))
	return command
}

const consumeHelp = `Stay up, and transcode one clip after another.

It takes the flags and variables of transcode-worker, and tells a
ScaledDeployment at --listen whether it works: GET /longhaul/state, and POST,
DELETE and GET /longhaul/fence. On SIGTERM it finishes the clip in hand.`

// newConsume builds the command of a long-poll consumer.
func newConsume(env environment, s *worker.Settings) *cobra.Command {
	var listen string
	var hold time.Duration
	command := &cobra.Command{
		Use:   "consume",
		Short: "Stay up, and transcode one clip after another",
		Long:  consumeHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := env.fill(cmd.Flags()); err != nil {
				return err
			}
			if hold < 0 {
				return fmt.Errorf("%w: HOLD must not be negative", inbox.ErrSettings)
			}
			return consume(cmd.Context(), *s, listen, hold)
		},
	}
	addFlags(command.Flags(), s, env.taker())
	command.Flags().StringVar(&listen, "listen", ":8081", "address at which to tell Longhaul what it does ($LISTEN)")
	command.Flags().DurationVar(&hold, "hold", 10*time.Second, "how long to wait at the start for Longhaul to let it take a message; 0 not to ($HOLD)")
	return command
}

// consume serves the consumer's state while it works.
func consume(ctx context.Context, s worker.Settings, listen string, hold time.Duration) error {
	w := consumer.New()
	if hold > 0 {
		w.Hold(hold)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("%w: LISTEN %q: %w", inbox.ErrSettings, listen, err)
	}
	server := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	defer server.Close()
	go func() { _ = server.Serve(listener) }() // ends when it is closed
	return worker.Consume(ctx, s, w)
}

func addFlags(flags *pflag.FlagSet, s *worker.Settings, taker string) {
	flags.StringVar(&s.Inbox.Queue, "queue", "", "RabbitMQ queue or Redis list to take from")
	flags.StringVar(&s.Inbox.ProcessingList, "processing-list", "", "Redis list that holds the message meanwhile")
	flags.StringVar(&s.Inbox.Stream, "stream", "", "Redis stream to take from")
	flags.StringVar(&s.Inbox.ConsumerGroup, "consumer-group", "", "consumer group of the Redis stream")
	flags.StringVar(&s.Inbox.Taker, "taker", taker, "name for which Redis holds the message, the same for each try of a Job")
	flags.BoolVar(&s.Inbox.Requeue, "requeue", false, "let a message that is no good wait again")
	flags.DurationVar(&s.Wait, "wait", 5*time.Second, "how long to wait for a message")
	flags.DurationVar(&s.Inbox.Patience, "patience", 30*time.Second, "how long to try while the broker cannot be reached")
	flags.DurationVar(&s.StartDelay, "start-delay", 0, "how long to wait before asking for a message")
	flags.StringVar(&s.InputDir, "input-dir", "", "folder where relative names of inputs begin")
	flags.StringVar(&s.OutputDir, "output-dir", "", "folder where relative names of outputs begin")
	flags.StringVar(&s.Encoder, "encoder", "auto", "auto, ffmpeg or builtin")
	flags.Float64Var(&s.MaxSpeed, "max-speed", 0, "seconds of video to transcode in a second at most; 0 for no limit")
	flags.VisitAll(func(f *pflag.Flag) { f.Usage += " ($" + variable(f.Name) + ")" })
}

func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usage(err)
	}
	return nil
}

// usage makes an error one of how the program was called.
func usage(err error) error {
	return fmt.Errorf("%w: %w; see transcode-worker --help", inbox.ErrSettings, err)
}
