package controlplane

import (
	"encoding/base64"
	"fmt"
)

// kubeconfig renders a kubeconfig for one user of the API server at the URL.
func kubeconfig(server, user, token string, caCertificate []byte) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: longhaul
  cluster:
    server: %q
    certificate-authority-data: %s
users:
- name: %[3]q
  user:
    token: %[4]q
contexts:
- name: longhaul
  context:
    cluster: longhaul
    user: %[3]q
current-context: longhaul
`, server, base64.StdEncoding.EncodeToString(caCertificate), user, token)
}
