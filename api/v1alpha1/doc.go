// Package v1alpha1 holds the words that Longhaul's users speak: the ScaledJob, its triggers and limits, and the
// conditions by which it says how it fares.
//
// A ScaledJob names a Job template, the triggers that say how many messages wait, and how many Jobs may run at once.
// A trigger is one event source: a RabbitMQ queue, a Redis list or stream, or a cron schedule. Messages wait until a
// Job takes them; taken and not yet acknowledged, they are held. A Job is active until it has finished, and starting
// while, so far as anyone can know, it has taken no message.
//
// Everything that the API server can check by itself is checked there, so that kubectl apply refuses a mistake.
//
// +kubebuilder:object:generate=true
// +groupName=longhaul.dev
package v1alpha1
