package access_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger/access"
	"github.com/longhaul-dev/longhaul/test/fixture/broker/brokertest"
)

// secrets are what the Secret named broker holds, by key.
type secrets map[string]string

func (s secrets) read(name, key string) (string, error) {
	value, ok := s[key]
	if name != "broker" || !ok {
		return "", fmt.Errorf("key %q of Secret %q does not exist", key, name)
	}
	return value, nil
}

func ref(key string) *v1alpha1.SecretKeyRef { return &v1alpha1.SecretKeyRef{Name: "broker", Key: key} }

func TestAURIThatCannotBeUsedSaysWhereItIsAndHowToWriteIt(t *testing.T) {
	t.Parallel()
	const (
		field, example = "rabbitmq.uri", "amqp://rabbitmq:5672/videos"
		noURI          = " is no URI: write it as amqp://rabbitmq:5672/videos, with reserved characters in user and password " +
			"percent-encoded"
		notUsable = " is not usable: it must begin with amqp:// or amqps:// and name a host, such as amqp://rabbitmq:5672/videos"
	)
	for text, want := range map[string]string{
		"amqp://rabbitmq":                          "",
		"amqps://rabbitmq:5671/videos":             "",
		"amqp://user@rabbitmq/videos%2Flong":       "",
		"amqp://user:p%40ss%2Fword@rabbitmq":       "",
		"amqp://[::1]:5672":                        "",
		"  amqp://rabbitmq\n":                      "",
		"":                                         notUsable,
		"rabbitmq":                                 notUsable,
		"rabbitmq:5672":                            notUsable,
		"http://rabbitmq:15672":                    notUsable,
		"amqp://":                                  notUsable,
		"amqp:///videos":                           notUsable,
		"amqp://:5672/videos":                      notUsable,
		"127.0.0.1:5672":                           noURI,
		"amqp://rabbitmq:port":                     noURI,
		"amqp://rabbitmq/100%":                     noURI,
		"amqp://user:difficult/password@rabbitmq":  noURI,
		"amqp://user:difficult%password@rabbitmq":  noURI,
		"amqp://user:difficult password@rabbitmq ": noURI,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			inSecret := v1alpha1.URISource{SecretKeyRef: ref("uri")}
			_, err := access.New(secrets{"uri": text}.read).URI(field, &inSecret, example, "amqp", "amqps")
			shows(t, err, prefixed(`rabbitmq.uri: what key "uri" of Secret "broker" holds`, want))

			plain := v1alpha1.URISource{Value: text}
			_, err = access.New(nil).URI(field, &plain, example, "amqp", "amqps")
			where := fmt.Sprintf("rabbitmq.uri.value %q", text)
			if strings.Contains(text, "@") {
				where = "rabbitmq.uri.value"
			}
			shows(t, err, prefixed(where, want))
		})
	}
}

func prefixed(where, what string) string {
	if what == "" {
		return ""
	}
	return where + what
}

func TestASecretThatIsMissingIsNamedWithTheFieldThatAsksForIt(t *testing.T) {
	t.Parallel()
	none := secrets{}.read
	_, err := access.New(none).Value("redisList.password", ref("password"))
	shows(t, err, `redisList.password: key "password" of Secret "broker" does not exist`)
	_, err = access.New(none).URI("rabbitmq.uri", &v1alpha1.URISource{SecretKeyRef: ref("uri")}, "", "amqp")
	shows(t, err, `rabbitmq.uri.secretKeyRef: key "uri" of Secret "broker" does not exist`)
	_, err = access.New(none).TLS("rabbitmq.tls", &v1alpha1.TLS{CA: ref("ca.crt")})
	shows(t, err, `rabbitmq.tls.ca: key "ca.crt" of Secret "broker" does not exist`)
}

func TestASecretsValueIsUsedWithoutTheLineEndThatToolsLeaveThere(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"word\n", "word"}, {"word\r\n", "word"}, {" two words ", " two words "}, {"a\nb", "a\nb"}} {
		in, want := c[0], c[1]
		got, err := access.New(secrets{"password": in}.read).Value("redisList.password", ref("password"))
		if err != nil || got != want {
			t.Errorf("%q is used as %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := access.New(nil).Value("redisList.password", nil); err != nil || got != "" {
		t.Errorf("without a reference it is %q, %v, want nothing", got, err)
	}
}

func TestTheDigestShowsNothingAndChangesWithEachThingThatIsRead(t *testing.T) {
	t.Parallel()
	digest := func(values ...string) string {
		all := secrets{}
		for i, value := range values {
			all[fmt.Sprint(i)] = value
		}
		s := access.New(all.read)
		for i := range values {
			if _, err := s.Value("field", ref(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		return s.Digest()
	}
	lists := [][]string{{}, {""}, {"s3cret"}, {"s3cret", ""}, {"", "s3cret"}, {"s3", "cret"}, {"s3cret", "s3cret"}, {"1:a", "b"}, {"1:a1:b"}}
	seen := map[string][]string{}
	for _, list := range lists {
		d := digest(list...)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q have the same digest", list, other)
		}
		if d != digest(list...) {
			t.Errorf("%q has two digests", list)
		}
		if strings.Contains(d, "s3") || strings.Contains(d, "cret") {
			t.Errorf("the digest of %q is %s", list, d)
		}
		seen[d] = list
	}
}

func TestCertificatesThatAreNoneAreNamed(t *testing.T) {
	t.Parallel()
	certificates, others := brokertest.Certificates(t), brokertest.Certificates(t)
	all := secrets{
		"ca.crt":  content(t, certificates.CA),
		"tls.crt": content(t, certificates.ClientCert), "tls.key": content(t, certificates.ClientKey),
		"other.key": content(t, others.ClientKey),
		"text":      "s3cret",
	}
	const notAPair = "rabbitmq.tls.certificate and rabbitmq.tls.key are not a certificate and its private key in PEM "
	for name, c := range map[string]struct {
		tls  v1alpha1.TLS
		want string
	}{
		"nothing":             {v1alpha1.TLS{}, ""},
		"all":                 {v1alpha1.TLS{CA: ref("ca.crt"), Certificate: ref("tls.crt"), Key: ref("tls.key")}, ""},
		"no CA":               {v1alpha1.TLS{CA: ref("text")}, `rabbitmq.tls.ca: key "text" of Secret "broker" holds no certificate: put certificates in PEM there`},
		"a key as CA":         {v1alpha1.TLS{CA: ref("tls.key")}, `rabbitmq.tls.ca: key "tls.key" of Secret "broker" holds no certificate: put certificates in PEM there`},
		"a certificate alone": {v1alpha1.TLS{Certificate: ref("tls.crt")}, notAPair + "(tls: failed to find any PEM data in key input)"},
		"another's key":       {v1alpha1.TLS{Certificate: ref("tls.crt"), Key: ref("other.key")}, notAPair + "(tls: private key does not match public key)"},
		"no certificate":      {v1alpha1.TLS{Certificate: ref("text"), Key: ref("tls.key")}, notAPair + "(tls: failed to find any PEM data in certificate input)"},
		"a key and no Secret": {v1alpha1.TLS{Certificate: ref("tls.crt"), Key: ref("missing")}, `rabbitmq.tls.key: key "missing" of Secret "broker" does not exist`},
		"the two the other way": {v1alpha1.TLS{Certificate: ref("tls.key"), Key: ref("tls.crt")}, notAPair +
			"(tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := access.New(all.read).TLS("rabbitmq.tls", &c.tls)
			shows(t, err, c.want)
		})
	}
}

// shows checks an error's words, of which there are none without an error.
func shows(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the error (-want +got):\n%s", diff)
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
