package view

import (
	"fmt"
	"io"
	"strings"

	v1 "github.com/longhaul-dev/longhaul/history/web/v1"
)

// ScaledDeployments writes a table of them.
func (s Style) ScaledDeployments(w io.Writer, all []v1.ScaledDeployment) {
	headers := []string{"NAME", "TARGET", "MAX", "WAITING", "DESIRED", "REPLICAS", "BUSY", "IDLE", "READY", "AGE"}
	if s.Wide {
		headers = append(headers, "HELD", "FENCED", "LEAVING", "LAST SCALE", "WHY")
	}
	if s.Namespaces {
		headers = append([]string{"NAMESPACE"}, headers...)
	}
	var rows [][]string
	for i := range all {
		sd := &all[i]
		row := []string{
			sd.Name, sd.TargetKind + "/" + sd.TargetName, fmt.Sprint(sd.MaxReplicas), number(sd.Waiting), number(sd.DesiredReplicas), number(sd.Replicas),
			fmt.Sprint(sd.Busy), fmt.Sprint(sd.Idle), s.readiness(sd.Suspended, sd.Ready), s.age(sd.Created),
		}
		if s.Wide {
			row = append(row, number(sd.Held), fmt.Sprint(sd.Fenced), fmt.Sprint(sd.Leaving), s.age(sd.LastScale), Line(sd.Why))
		}
		if s.Namespaces {
			row = append([]string{sd.Namespace}, row...)
		}
		rows = append(rows, row)
	}
	s.Table(w, headers, rows)
}

// Consumers writes what each pod of ScaledDeployments does; nothing where there are none.
func (s Style) Consumers(w io.Writer, all []v1.ScaledDeployment) {
	headers := []string{"POD", "OF", "DOES"}
	if s.Namespaces {
		headers = append([]string{"NAMESPACE"}, headers...)
	}
	var rows [][]string
	for i := range all {
		for k := range all[i].Pods {
			pod := &all[i].Pods[k]
			row := []string{pod.Name, all[i].Name, s.doing(pod)}
			if s.Namespaces {
				row = append([]string{all[i].Namespace}, row...)
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	s.Table(w, headers, rows)
}

// doing says what a pod does, and for how long: "busy with 8141 for 2h13m".
func (s Style) doing(pod *v1.Consumer) string {
	text := strings.ToLower(pod.State)
	if pod.MessageID != "" {
		text += " with " + Line(pod.MessageID)
	}
	if pod.Since != nil {
		text += " for " + s.age(pod.Since)
	}
	switch pod.State {
	case "Busy", "Draining":
		return s.paint(text, green)
	case "Silent", "Lost":
		return s.paint(text, red)
	default:
		return text
	}
}

// DescribeDeployment writes all about one ScaledDeployment, and what its pods do.
func (s Style) DescribeDeployment(w io.Writer, sd *v1.ScaledDeployment) {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-16s %s\n", name+":", fmt.Sprintf(format, args...))
	}
	field("Name", "%s", sd.Name)
	field("Namespace", "%s", sd.Namespace)
	field("Target", "%s/%s", sd.TargetKind, sd.TargetName)
	field("Why", "%s", Line(sd.Why))
	field("Ready", "%s", s.readiness(sd.Suspended, sd.Ready))
	field("Replicas", "%s set, %s wanted, %d to %d allowed", number(sd.Replicas), number(sd.DesiredReplicas), sd.MinReplicas, sd.MaxReplicas)
	field("Pods", "%d busy, %d idle (%d fenced), %d leaving, %d lost, %d ready", sd.Busy, sd.Idle, sd.Fenced, sd.Leaving, sd.Lost, sd.ReadyPods)
	field("Waiting", "%s", number(sd.Waiting))
	field("Held", "%s", number(sd.Held))
	field("Last scale", "%s", s.since(sd.LastScale))
	field("Age", "%s", s.age(sd.Created))
	s.triggers(w, sd.Triggers)
	s.conditions(w, sd.Conditions)
	if len(sd.Pods) == 0 {
		field("Pods", "none")
		return
	}
	fmt.Fprintln(w, "Pods:")
	var rows [][]string
	for i := range sd.Pods {
		rows = append(rows, []string{"  " + sd.Pods[i].Name, s.doing(&sd.Pods[i])})
	}
	s.Table(w, []string{"  POD", "DOES"}, rows)
}
