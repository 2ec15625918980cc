package controlplane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/csv"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// The identities that the API server knows by a token. The admin may do everything; the controller manager what its
// role in every cluster allows.
const (
	adminUser   = "admin"
	adminGroup  = "system:masters"
	managerUser = "system:kube-controller-manager"
)

// kubeletClient is the name by which nodes know the API server when it asks for logs: the same as kubeadm's.
const kubeletClient = "kube-apiserver-kubelet-client"

// serviceIP is what the Service kubernetes gets: the first address of serviceIPRange.
const (
	serviceIPRange = "10.0.0.0/24"
	serviceIP      = "10.0.0.1"
)

// credentials are the contents of a folder's pki directory.
type credentials struct {
	caCertificate []byte // PEM
	adminToken    string
	managerToken  string
}

// credentials reads the folder's keys and tokens and makes them the first time.
func (f folder) credentials(now time.Time) (credentials, error) {
	_, err := os.Stat(f.path("pki", "kubelet-client.crt")) // which earlier versions did not make
	if errors.Is(err, fs.ErrNotExist) {
		err = f.makeCredentials(now)
	}
	if err != nil {
		return credentials{}, fmt.Errorf("making the keys and tokens: %w", err)
	}
	ca, err := os.ReadFile(f.path("pki", "ca.crt"))
	if err != nil {
		return credentials{}, fmt.Errorf("reading the certificate authority: %w", err)
	}
	content, err := os.ReadFile(f.path("pki", "tokens.csv"))
	if err != nil {
		return credentials{}, fmt.Errorf("reading the tokens: %w", err)
	}
	table := csv.NewReader(bytes.NewReader(content))
	table.FieldsPerRecord = -1 // groups are optional
	rows, err := table.ReadAll()
	if err != nil {
		return credentials{}, fmt.Errorf("parsing the tokens: %w", err)
	}
	if len(rows) != 2 {
		return credentials{}, fmt.Errorf("%s holds %d tokens, not 2", f.path("pki", "tokens.csv"), len(rows))
	}
	return credentials{caCertificate: ca, adminToken: rows[0][0], managerToken: rows[1][0]}, nil
}

// makeCredentials writes a whole pki directory or none. The authority's key is not kept: it signs two certificates.
func (f folder) makeCredentials(now time.Time) error {
	authorityKey, err := newKey()
	if err != nil {
		return err
	}
	servingKey, err := newKey()
	if err != nil {
		return err
	}
	clientKey, err := newKey()
	if err != nil {
		return err
	}
	accountKey, err := newKey()
	if err != nil {
		return err
	}
	authority := certificate("longhaul local control plane", now)
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	serving := certificate("kube-apiserver", now)
	serving.KeyUsage, serving.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceIP)}
	serving.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	client := certificate(kubeletClient, now)
	client.KeyUsage, client.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}

	files := map[string][]byte{}
	if files["ca.crt"], err = sign(authority, authority, authorityKey, authorityKey); err != nil {
		return err
	}
	if files["serving.crt"], err = sign(serving, authority, servingKey, authorityKey); err != nil {
		return err
	}
	if files["serving.key"], err = encodeKey(servingKey); err != nil {
		return err
	}
	if files["kubelet-client.crt"], err = sign(client, authority, clientKey, authorityKey); err != nil {
		return err
	}
	if files["kubelet-client.key"], err = encodeKey(clientKey); err != nil {
		return err
	}
	if files["serviceaccount.key"], err = encodeKey(accountKey); err != nil {
		return err
	}
	files["tokens.csv"] = fmt.Appendf(nil, "%s,%s,%s,%s\n%s,%s,%s\n",
		rand.Text(), adminUser, adminUser, adminGroup, rand.Text(), managerUser, managerUser)
	return f.writeDirectory("pki", files)
}

// writeDirectory puts a directory of files in place at once, instead of one that there may be.
func (f folder) writeDirectory(name string, files map[string][]byte) error {
	temporary, err := os.MkdirTemp(string(f), "."+name+"-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer os.RemoveAll(temporary)
	for file, content := range files {
		if err := os.WriteFile(folder(temporary).path(file), content, 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
	}
	if err := errors.Join(os.RemoveAll(f.path(name)), os.Rename(temporary, f.path(name))); err != nil {
		return fmt.Errorf("putting %s in place: %w", name, err)
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// certificate is a template, valid from an hour ago, since clocks differ, for ten years, since folders are kept.
func certificate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.AddDate(10, 0, 0),
	}
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
