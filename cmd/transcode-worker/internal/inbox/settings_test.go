package inbox_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/longhaul-dev/longhaul/cmd/transcode-worker/internal/inbox"
)

func TestWhatABrokerRefusesIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	const secret = "mobydick"
	for name, tt := range map[string]struct {
		settings func(address string) inbox.Settings
		says     string
	}{
		"a wrong password": {func(address string) inbox.Settings {
			return inbox.Settings{URI: "redis://:" + secret + "@" + address, Queue: "list"}
		}, "WRONGPASS"},
		"a password of its own that is wrong": {func(address string) inbox.Settings {
			return inbox.Settings{URI: "redis://" + address, Password: secret, Queue: "list"}
		}, "WRONGPASS"},
		"a list that is none": {func(address string) inbox.Settings {
			return inbox.Settings{URI: "redis://:right@" + address, Queue: "text", ProcessingList: "processing"}
		}, "WRONGTYPE"},
		"a group that is missing": {func(address string) inbox.Settings {
			return inbox.Settings{URI: "redis://:right@" + address, Stream: "stream", ConsumerGroup: "none"}
		}, "NOGROUP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := miniredis.RunT(t)
			server.RequireAuth("right")
			if err := server.Set("text", "no list"); err != nil {
				t.Fatal(err)
			}
			s := tt.settings(server.Addr())
			s.Taker, s.Patience = "ann", time.Hour // which would be a long time to try
			_, err := openWith(t, s).Take(t.Context(), 0)
			if !errors.Is(err, inbox.ErrRefused) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want ErrRefused with %s", err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%q shows the password", err)
			}
		})
	}
}

func TestSettingsThatDoNotFitAreRefusedByName(t *testing.T) {
	t.Parallel()
	const secret = "moby%zzdick"
	for name, tt := range map[string]struct {
		settings inbox.Settings
		says     string
	}{
		"no URI":                             {inbox.Settings{Queue: "q"}, "QUEUE_URI"},
		"a URI that is none":                 {inbox.Settings{URI: "amqp://user:" + secret + "@host", Queue: "q"}, "QUEUE_URI"},
		"a password with a slash":            {inbox.Settings{URI: "redis://user:moby/dick@host", Queue: "q"}, "QUEUE_URI"},
		"an unknown scheme":                  {inbox.Settings{URI: "http://user:mobydick@host", Queue: "q"}, "QUEUE_URI"},
		"a database that is no number":       {inbox.Settings{URI: "redis://user:mobydick@host/x", Queue: "q"}, "QUEUE_URI"},
		"a port that is none":                {inbox.Settings{URI: "amqp://user:mobydick@host:port", Queue: "q"}, "QUEUE_URI"},
		"RabbitMQ without a queue":           {inbox.Settings{URI: "amqp://host"}, "QUEUE"},
		"RabbitMQ with a processing list":    {inbox.Settings{URI: "amqp://host", Queue: "q", ProcessingList: "p"}, "PROCESSING_LIST"},
		"RabbitMQ with a stream":             {inbox.Settings{URI: "amqp://host", Queue: "q", Stream: "s"}, "STREAM"},
		"Redis without anything":             {inbox.Settings{URI: "redis://host"}, "QUEUE nor STREAM"},
		"Redis with both":                    {inbox.Settings{URI: "redis://host", Queue: "q", Stream: "s"}, "both"},
		"a stream without a group":           {inbox.Settings{URI: "redis://host", Stream: "s"}, "CONSUMER_GROUP"},
		"a stream with a processing list":    {inbox.Settings{URI: "redis://host", Stream: "s", ConsumerGroup: "g", ProcessingList: "p"}, "PROCESSING_LIST"},
		"a list with a group":                {inbox.Settings{URI: "redis://host", Queue: "q", ConsumerGroup: "g"}, "CONSUMER_GROUP"},
		"a URI with a parameter not known":   {inbox.Settings{URI: "redis://:mobydick@host?x=mobydick", Queue: "q"}, "QUEUE_URI"},
		"a heartbeat that is no number":      {inbox.Settings{URI: "amqp://u:mobydick@host?heartbeat=mobydick", Queue: "q"}, "QUEUE_URI"},
		"a URI with nothing but a password":  {inbox.Settings{URI: "mobydick", Queue: "q"}, "QUEUE_URI"},
		"a URI with a control character":     {inbox.Settings{URI: "amqp://u:moby\x7fdick@host", Queue: "q"}, "QUEUE_URI"},
		"a URI of a scheme of its own fault": {inbox.Settings{URI: "mobydick://x", Queue: "q"}, "QUEUE_URI"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := inbox.Open(tt.settings)
			if !errors.Is(err, inbox.ErrSettings) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("%v, want ErrSettings with %s", err, tt.says)
			}
			if strings.Contains(err.Error(), "moby") || strings.Contains(err.Error(), "dick") {
				t.Errorf("%q shows the password", err)
			}
		})
	}
}
