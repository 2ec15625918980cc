package controlplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/longhaul-dev/longhaul/test/kube/controlplane"
)

func TestCredentialsAreMadeOnceAndAgainWhereAnEarlierVersionMadeFewer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tokens := func() string {
		t.Helper()
		if err := controlplane.MakeCredentials(dir); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, "pki", "tokens.csv"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	first := tokens()
	if tokens() != first {
		t.Error("the tokens are others the second time")
	}
	if err := os.Remove(filepath.Join(dir, "pki", "kubelet-client.crt")); err != nil {
		t.Fatal(err)
	}
	tokens()

	ca, err := os.ReadFile(filepath.Join(dir, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(ca)
	for name, usage := range map[string]x509.ExtKeyUsage{
		"serving": x509.ExtKeyUsageServerAuth, "kubelet-client": x509.ExtKeyUsageClientAuth,
	} {
		path := filepath.Join(dir, "pki", name)
		pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
		if err != nil {
			t.Error(err)
			continue
		}
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: authorities, KeyUsages: []x509.ExtKeyUsage{use}})
			if allowed := err == nil; allowed != (use == usage) {
				t.Errorf("the certificate %s may be used as %d: %t (%v)", name, use, allowed, err)
			}
		}
	}
}
