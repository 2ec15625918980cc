// Package access is what drivers need to be let in by a broker: URIs, passwords and certificates, read from the Secrets
// that a trigger's settings refer to.
//
// No error and no digest of this package shows what a Secret holds. An error names the field, and the Secret and key that
// it refers to.
package access

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"hash"
	"net/url"
	"slices"
	"strings"

	"github.com/longhaul-dev/longhaul/api/v1alpha1"
	"github.com/longhaul-dev/longhaul/dispatcher/trigger"
)

// Settings reads what one trigger's settings refer to, and remembers a digest of all that it read. Two triggers whose
// digests are the same were given the same. Use New.
type Settings struct {
	secrets trigger.Secrets
	read    hash.Hash
}

// New returns Settings that have read nothing yet.
func New(secrets trigger.Secrets) *Settings {
	return &Settings{secrets: secrets, read: sha256.New()}
}

// Digest is a digest of all that was read so far, for a trigger.Source's Endpoint.
func (s *Settings) Digest() string {
	return "sha256:" + hex.EncodeToString(s.read.Sum(nil)[:16])
}

// Add adds to the digest what was not read from here.
func (s *Settings) Add(value string) {
	// Each value begins with its length, so that no two lists of values look the same.
	fmt.Fprintf(s.read, "%d:%s", len(value), value)
}

// Value is what a Secret's key holds, without line ends at its end, which many tools leave there; empty without a reference.
func (s *Settings) Value(field string, ref *v1alpha1.SecretKeyRef) (string, error) {
	if ref == nil {
		s.Add("")
		return "", nil
	}
	value, err := s.secrets(ref.Name, ref.Key)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	value = strings.TrimRight(value, "\r\n")
	s.Add(value)
	return value, nil
}

// URI is the URI that a field gives, of one of the schemes, with a host.
func (s *Settings) URI(field string, source *v1alpha1.URISource, example string, schemes ...string) (*url.URL, error) {
	text, where := source.Value, fmt.Sprintf("%s.value %q", field, source.Value)
	if strings.Contains(text, "@") {
		where = field + ".value" // what is wrong with it may be that it has a password in it
	}
	if ref := source.SecretKeyRef; ref != nil {
		value, err := s.Value(field+".secretKeyRef", ref)
		if err != nil {
			return nil, err
		}
		text, where = value, fmt.Sprintf("%s: what key %q of Secret %q holds", field, ref.Key, ref.Name)
	}
	text = strings.TrimSpace(text)
	s.Add(text)
	// What the parser says is left out: it quotes the URI, password and all.
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no URI: write it as %s, with reserved characters in user and password percent-encoded",
			where, example)
	}
	if !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" {
		return nil, fmt.Errorf("%s is not usable: it must begin with %s:// and name a host, such as %s",
			where, strings.Join(schemes, ":// or "), example)
	}
	return u, nil
}

// TLS is the configuration that a field asks for: without one, that of the system's authorities.
func (s *Settings) TLS(field string, spec *v1alpha1.TLS) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if spec == nil {
		return config, nil
	}
	config.ServerName = spec.ServerName
	s.Add(spec.ServerName)
	ca, err := s.Value(field+".ca", spec.CA)
	if err != nil {
		return nil, err
	}
	if spec.CA != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, fmt.Errorf("%s.ca: key %q of Secret %q holds no certificate: put certificates in PEM there",
				field, spec.CA.Key, spec.CA.Name)
		}
	}
	certificate, err := s.Value(field+".certificate", spec.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := s.Value(field+".key", spec.Key)
	if err != nil {
		return nil, err
	}
	if spec.Certificate == nil && spec.Key == nil {
		return config, nil
	}
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%s.certificate and %s.key are not a certificate and its private key in PEM (%w)", field, field, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
