package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Trigger is one event source of a ScaledJob: exactly one of rabbitmq, redisList, redisStream and cron.
//
// +kubebuilder:validation:ExactlyOneOf=rabbitmq;redisList;redisStream;cron
type Trigger struct {
	// name tells this trigger from the others, in labels, environment, status and metrics. By default the trigger's kind:
	// rabbitmq, redisList, redisStream or cron.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="must consist of letters, digits and '-', and start and end with a letter or digit: it becomes a label of the Jobs"
	Name string `json:"name,omitempty"`

	// messagesPerJob is how many messages one Job takes. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MessagesPerJob *int32 `json:"messagesPerJob,omitempty"`

	// acknowledge says when a worker acknowledges its message: AfterWork, so that held messages are those being worked
	// on, or OnReceipt, so that held means nothing. Default AfterWork.
	// +optional
	// +default="AfterWork"
	Acknowledge Acknowledge `json:"acknowledge,omitempty"`

	// activationThreshold is how many messages may wait without a Job: at or below it the trigger counts as empty.
	// Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	ActivationThreshold *int64 `json:"activationThreshold,omitempty"`

	// rabbitmq is a RabbitMQ queue.
	// +optional
	RabbitMQ *RabbitMQTrigger `json:"rabbitmq,omitempty"`

	// redisList is a Redis list.
	// +optional
	RedisList *RedisListTrigger `json:"redisList,omitempty"`

	// redisStream is a Redis stream with a consumer group.
	// +optional
	RedisStream *RedisStreamTrigger `json:"redisStream,omitempty"`

	// cron is a schedule.
	// +optional
	Cron *CronTrigger `json:"cron,omitempty"`
}

// Acknowledge says when a worker acknowledges its message.
//
// +kubebuilder:validation:Enum=AfterWork;OnReceipt
type Acknowledge string

// When a worker acknowledges its message; see Trigger.Acknowledge.
const (
	AcknowledgeAfterWork Acknowledge = "AfterWork"
	AcknowledgeOnReceipt Acknowledge = "OnReceipt"
)

// EffectiveName is the trigger's name, or its kind where it has none.
func (t *Trigger) EffectiveName() string {
	if t.Name != "" {
		return t.Name
	}
	return t.Kind()
}

// Kind is the name of the one event source that is set: rabbitmq, redisList, redisStream or cron; empty where none is,
// which the API server refuses.
func (t *Trigger) Kind() string {
	switch {
	case t.RabbitMQ != nil:
		return "rabbitmq"
	case t.RedisList != nil:
		return "redisList"
	case t.RedisStream != nil:
		return "redisStream"
	case t.Cron != nil:
		return "cron"
	default:
		return ""
	}
}

// SecretKeyRef names one key of a Secret in the ScaledJob's namespace.
type SecretKeyRef struct {
	// name is the Secret's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is the key within the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// URISource is a URI, written out or in a Secret. Its rules are on the whole and not on value, because the API server
// repeats a value that it refuses, and what is refused here is a password.
//
// +kubebuilder:validation:ExactlyOneOf=value;secretKeyRef
// +kubebuilder:validation:XValidation:rule="!has(self.value) || !self.value.matches('^[^:/]*://[^@]*:[^@]*@')",message="must not contain a password: put the URI in a Secret and name it with secretKeyRef",fieldPath=".value"
type URISource struct {
	// value is the URI itself, without a password: put a URI that has one in a Secret and use secretKeyRef.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Value string `json:"value,omitempty"`

	// secretKeyRef names the Secret and its key that hold the URI.
	// +optional
	SecretKeyRef *SecretKeyRef `json:"secretKeyRef,omitempty"`
}

// TLS says how to trust a broker and how to be known to it. Certificates are PEM. Without a CA the system's are trusted.
//
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="has(self.certificate) == has(self.key)",message="certificate and key belong together: set both or neither"
type TLS struct {
	// ca holds the certificates of the authorities to trust instead of the system's.
	// +optional
	CA *SecretKeyRef `json:"ca,omitempty"`

	// certificate is the client certificate to present.
	// +optional
	Certificate *SecretKeyRef `json:"certificate,omitempty"`

	// key is the client certificate's private key.
	// +optional
	Key *SecretKeyRef `json:"key,omitempty"`

	// serverName is the name that the broker's certificate must show, where it is not the address's host.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
}

// RabbitMQTrigger is a RabbitMQ queue, classic or quorum.
//
// +kubebuilder:validation:XValidation:rule="!has(self.uri.value) || self.uri.value.matches('^amqps?://')",message="must begin with amqp:// or amqps://, such as amqp://rabbitmq:5672",fieldPath=".uri.value"
// +kubebuilder:validation:XValidation:rule="!has(self.managementURI) || !has(self.managementURI.value) || self.managementURI.value.matches('^https?://')",message="must begin with http:// or https://, such as http://rabbitmq:15672",fieldPath=".managementURI.value"
type RabbitMQTrigger struct {
	// queue is the queue's name. It must exist: a missing queue shows in the Ready condition and heals when it appears.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="bytes(self).size() <= 255",message="must have at most 255 bytes: RabbitMQ has no longer names"
	Queue string `json:"queue,omitempty"`

	// uri is the broker's AMQP 0-9-1 URI: amqp://host:5672/vhost, or amqps:// for TLS.
	// +required
	URI URISource `json:"uri,omitzero"`

	// managementURI is the URI of the broker's management API, such as http://host:15672. With it, held messages of
	// classic queues are known live, and shown for quorum queues. Without a user in it, the AMQP URI's is used.
	// +optional
	ManagementURI *URISource `json:"managementURI,omitempty"`

	// vhost is the virtual host, where it is not the AMQP URI's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="bytes(self).size() <= 255",message="must have at most 255 bytes: RabbitMQ has no longer names"
	VHost string `json:"vhost,omitempty"`

	// tls says how to trust the broker, and how to be known to it, for amqps:// and https://.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
}

// RedisConnection says how to reach a Redis server, a Sentinel group or a cluster.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sentinelMaster) || !has(self.cluster) || !self.cluster",message="sentinelMaster and cluster exclude each other: remove one"
// +kubebuilder:validation:XValidation:rule="!has(self.database) || self.database == 0 || !(has(self.cluster) && self.cluster || self.addresses.size() > 1 && !has(self.sentinelMaster))",message="a Redis cluster, which several addresses without sentinelMaster are, has database 0 only: remove database",fieldPath=".database"
// +kubebuilder:validation:XValidation:rule="!has(self.username) || has(self.password)",message="username needs a password beside it: set password or remove username",fieldPath=".username"
// +kubebuilder:validation:XValidation:rule="!has(self.sentinelUsername) || has(self.sentinelPassword)",message="sentinelUsername needs a password beside it: set sentinelPassword or remove sentinelUsername",fieldPath=".sentinelUsername"
// +kubebuilder:validation:XValidation:rule="!has(self.sentinelPassword) || has(self.sentinelMaster)",message="sentinelPassword is for Sentinels: set sentinelMaster or remove sentinelPassword",fieldPath=".sentinelPassword"
type RedisConnection struct {
	// addresses are the servers, each host:port: one server, the Sentinels with sentinelMaster, or nodes of a cluster.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=260
	// +kubebuilder:validation:XValidation:rule="self.all(a, a.matches('^[^/@ ]+:[0-9]+$'))",message="each address must be host:port, such as redis:6379"
	Addresses []string `json:"addresses,omitempty"`

	// database is the number of the logical database. Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Database *int32 `json:"database,omitempty"`

	// username names the Secret and key that hold the user's name.
	// +optional
	Username *SecretKeyRef `json:"username,omitempty"`

	// password names the Secret and key that hold the password.
	// +optional
	Password *SecretKeyRef `json:"password,omitempty"`

	// tls turns TLS on, and says how to trust the server and how to be known to it. tls: {} trusts the system's
	// authorities.
	// +optional
	TLS *TLS `json:"tls,omitempty"`

	// sentinelMaster is the name of the master that the Sentinels at addresses watch.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SentinelMaster string `json:"sentinelMaster,omitempty"`

	// sentinelUsername names the Secret and key that hold the user's name at the Sentinels, where they ask for one.
	// +optional
	SentinelUsername *SecretKeyRef `json:"sentinelUsername,omitempty"`

	// sentinelPassword names the Secret and key that hold the password of the Sentinels, where they ask for one: password
	// is the master's.
	// +optional
	SentinelPassword *SecretKeyRef `json:"sentinelPassword,omitempty"`

	// cluster says that addresses are nodes of a Redis cluster. More than one address without sentinelMaster says so too.
	// Default false.
	// +optional
	// +default=false
	Cluster *bool `json:"cluster,omitempty"`
}

// RedisListTrigger is a Redis list.
//
// +kubebuilder:validation:XValidation:rule="!has(self.processingList) || self.processingList != self.list",message="must be another key than list: workers move their message there while they work on it",fieldPath=".processingList"
type RedisListTrigger struct {
	RedisConnection `json:",inline"`

	// list is the key of the list in which messages wait.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	List string `json:"list,omitempty"`

	// processingList is the key of the list to which workers move a message while they work on it (LMOVE). With it, held
	// messages are known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	ProcessingList string `json:"processingList,omitempty"`
}

// RedisStreamTrigger is a Redis stream, read through a consumer group.
type RedisStreamTrigger struct {
	RedisConnection `json:",inline"`

	// stream is the key of the stream.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Stream string `json:"stream,omitempty"`

	// consumerGroup is the group whose lag is what waits, and whose pending entries are what is held. A missing group
	// shows in the Ready condition and heals when it appears.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	ConsumerGroup string `json:"consumerGroup,omitempty"`
}

// CronTrigger is a schedule. A time that does not exist for a change of the clocks runs once, at the next that does; one
// that occurs twice runs once, at the first; of missed times only the latest within startingDeadline runs.
type CronTrigger struct {
	// schedule has five fields: minute, hour, day of month, month, day of week. "0 17 * * 5" is Friday at 17:00.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('TZ=') && !self.startsWith('CRON_TZ=')",message="must not name a time zone: set timeZone"
	// +kubebuilder:validation:XValidation:rule="self.startsWith('TZ=') || self.startsWith('CRON_TZ=') || self.matches('^[ ]*([-0-9A-Za-z*?,/]+[ ]+){4}[-0-9A-Za-z*?,/]+[ ]*$')",message="must have five fields: minute, hour, day of month, month and day of week, such as \"0 17 * * 5\" for Friday at 17:00"
	Schedule string `json:"schedule,omitempty"`

	// timeZone is the IANA name of the schedule's time zone, such as Europe/Berlin. Default Etc/UTC.
	// +optional
	// +default="Etc/UTC"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$') && self != 'Local'",message="must be an IANA time zone, such as Europe/Berlin or Etc/UTC"
	TimeZone string `json:"timeZone,omitempty"`

	// jobs is how many Jobs each scheduled time asks for. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Jobs *int32 `json:"jobs,omitempty"`

	// startingDeadline is how late a missed time may still run, as a duration such as 1h. Without it, however late.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(ms|s|m|h)){1,4}$') && duration(self) >= duration('10s')",message="must be a duration of at least 10s, such as 10m or 1h"
	StartingDeadline *metav1.Duration `json:"startingDeadline,omitempty"`
}
