// How k6 runs each of its scripts, and what it says at the end.

export const options = {
  vus: Number(__ENV.CONNECTIONS),
  duration: __ENV.DURATION,
  // As cheap as k6 can be told to be: it keeps no answers, unless a script wants to read them, and
  // only the metrics that are asked for.
  discardResponseBodies: true,
  systemTags: [],
};

// Requests, failed ones, and bytes sent and received: what the bench reads. With a script that
// checks its answers, each failed check counts as one more failed request.
export function handleSummary(data) {
  const { checks, http_reqs, http_req_failed, data_sent, data_received } = data.metrics;
  const failed = http_req_failed.values.passes + (checks ? checks.values.fails : 0);
  const bytes = [data_sent.values.count, data_received.values.count];
  return { stdout: `posted ${[http_reqs.values.count, failed, ...bytes].join(' ')}\n` };
}
