package main

import (
	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/longpoll"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/cron"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/rabbitmq"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/redis"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/resolve"
)

// kinds are the triggers that this manager knows, one line each.
func kinds() []resolve.Kind {
	type t = v1alpha1.Trigger
	return []resolve.Kind{
		resolve.KindOf("rabbitmq", func(t *t) *v1alpha1.RabbitMQTrigger { return t.RabbitMQ }, rabbitmq.Source),
		resolve.KindOf("redisList", func(t *t) *v1alpha1.RedisListTrigger { return t.RedisList }, redis.ListSource),
		resolve.KindOf("redisStream", func(t *t) *v1alpha1.RedisStreamTrigger { return t.RedisStream }, redis.StreamSource),
		resolve.KindOf("cron", func(t *t) *v1alpha1.CronTrigger { return t.Cron }, cron.Source),
	}
}

// consumers tells which pods hold messages of a RabbitMQ.
func consumers(spec *v1alpha1.RabbitMQTrigger, secrets trigger.Secrets) (longpoll.Consumers, error) {
	return rabbitmq.NewConsumers(spec, secrets)
}
