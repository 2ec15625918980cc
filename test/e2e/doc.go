// Package e2e tries Longhaul as a user meets it: the manager's real binary on a real API server and real Job controller,
// with real brokers, and the sample worker in real processes.
//
// A scenario runs 200 messages of each kind of trigger through a cap of 10, all kinds at the same time, while something
// happens to the manager or the brokers. An account is what came of one of them: it follows each change of each Job and
// Pod by the API server's own order of events, and so knows what ran at the same time without having to look at the right
// moment.
package e2e
