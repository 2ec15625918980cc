// Package web serves the JSON API over records and live state, and the page that shows them.
//
// A caller is who sends a request: a user of the cluster, whom the cluster itself knows by a token. What the caller may see
// are the ScaledJobs of those namespaces in which the cluster lets the caller list ScaledJobs, their Jobs and their records;
// all else does not exist here. Nothing can be changed by a request.
//
// Live state comes from the manager's cache, records from the history's store. Every replica serves both, the leader or not.
package web
