package web

import v1 "github.com/longhaul-dev/longhaul/history/web/v1"

// routes are all that can be asked for, but for events and what is for browsers.
func (s *Server) routes() []route {
	const one = "/api/v1/namespaces/{namespace}/scaledjobs/{name}"
	return []route{
		{
			"/api/v1/scaledjobs", "All ScaledJobs that you may see",
			[]parameter{
				{"namespace", "only those in it", "string", true},
				{"labelSelector", "only those with such labels, such as app=video", "string", false},
				{"deleted", "also those of which only the history is left", "boolean", false},
			},
			v1.ScaledJobList{},
			s.scaledJobs,
		},
		{one, "One ScaledJob", nil, v1.ScaledJob{}, s.scaledJob},
		{
			one + "/jobs", "Its Jobs that have not ended, oldest first",
			[]parameter{{"progress", "also how far they are, where their workers log that", "boolean", false}},
			v1.JobList{},
			s.activeJobs,
		},
		{one + "/records", "The records of its Jobs, newest first", recordParameters(), v1.RecordList{}, s.records},
		{one + "/records/{sequence}", "One record", nil, v1.Record{}, s.record},
		{
			one + "/stats", "Statistics of its Jobs that ended",
			append(windowParameters("24h"),
				parameter{"buckets", "also what finished in so many parts of the time, 0 to 1000; 0", "integer", false},
				parameter{"histogram", "also how durations are spread", "boolean", false}),
			v1.Stats{},
			s.stats,
		},
		{
			one + "/activity", "How much waited and ran over time",
			append(windowParameters("1h"), parameter{"points", "at so many moments, 2 to 1000; 200", "integer", false}),
			v1.Activity{},
			s.activity,
		},
		{
			one + "/timeline", "Its Jobs as bars, newest first",
			append(windowParameters("1h"), parameter{"limit", "how many at most, 1 to 2000; 500", "integer", false}),
			v1.Timeline{},
			s.timeline,
		},
		{
			"/api/v1/records", "The records of all Jobs that you may see, newest first",
			append(recordParameters(),
				parameter{"namespace", "only those in it", "string", true},
				parameter{"scaledJob", "only those of the ScaledJobs of this name", "string", false}),
			v1.RecordList{},
			s.allRecords,
		},
		{
			"/api/v1/scaleddeployments", "All ScaledDeployments that you may see, each with its pods",
			[]parameter{
				{"namespace", "only those in it", "string", true},
				{"labelSelector", "only those with such labels, such as app=video", "string", false},
			},
			v1.ScaledDeploymentList{},
			s.scaledDeployments,
		},
		{"/api/v1/namespaces/{namespace}/scaleddeployments/{name}", "One ScaledDeployment", nil, v1.ScaledDeployment{}, s.scaledDeployment},
		{"/api/v1/user", "Who you are", nil, v1.User{}, s.user},
	}
}
