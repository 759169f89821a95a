// What is usually written for k6: each user asks for a page of the last hour's reads in a project,
// parses the answer, and checks that it is a full page, over its own kept-alive connection. The
// question is the one that ours asks.
import http from 'k6/http';
import { check } from 'k6';

export { handleSummary, options } from './k6-run.js';

const EVENTS = Number(__ENV.EVENTS);
const HOUR_MS = 3600 * 1000;
const PARAMS = {
  headers: {
    'Content-Type': 'application/json',
    'X-Remote-User': 'k6',
    'X-Remote-Extra-iam.miloapis.com%2fparent-type': 'Project',
    'X-Remote-Extra-iam.miloapis.com%2fparent-name': 'project-of-k6',
  },
  responseType: 'text',
};

function seconds(ms) {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

export default function () {
  const until = Date.now() - 1000;
  const query = {
    apiVersion: 'activity.miloapis.com/v1alpha1',
    kind: 'AuditLogQuery',
    metadata: { name: 'k6' },
    spec: {
      startTime: seconds(until - HOUR_MS),
      endTime: seconds(until),
      limit: EVENTS,
      filter: "verb in ['get', 'list', 'watch']",
    },
  };
  const response = http.post(__ENV.URL, JSON.stringify(query), PARAMS);
  const page = JSON.parse(response.body);
  check(response, {
    'is answered': (it) => it.status === 201,
    'shows a full page': () => page.status.results.length === EVENTS,
  });
}
