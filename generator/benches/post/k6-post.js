// What is usually written for k6: each user makes events from a template, turns them into JSON and
// posts them, one alone or a list of EVENTS, over its own kept-alive connection. The events say
// what ours do, at the same size.
import http from 'k6/http';

export { handleSummary, options } from './k6-run.js';

const EVENTS = Number(__ENV.EVENTS);
const VERBS = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'];
const RESOURCES = ['pods', 'secrets', 'configmaps', 'services', 'deployments', 'events', 'leases'];
const PARAMS = { headers: { 'Content-Type': 'application/json' } };

function pick(from) {
  return from[Math.floor(Math.random() * from.length)];
}

function hex(digits) {
  return Math.floor(Math.random() * 16 ** digits).toString(16).padStart(digits, '0');
}

function uuid() {
  return `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`;
}

function event() {
  const project = `project-${Math.floor(Math.random() * 1000)}`;
  const name = `workload-${Math.floor(Math.random() * 100000)}`;
  const resource = pick(RESOURCES);
  const now = new Date().toISOString();
  return {
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    level: 'Metadata',
    auditID: uuid(),
    stage: 'ResponseComplete',
    requestURI: `/api/v1/namespaces/${project}/${resource}/${name}?limit=500&resourceVersion=0`,
    verb: pick(VERBS),
    user: {
      username: 'system:serviceaccount:argocd:argocd-application-controller',
      uid: 'e9e9bd69-eda5-4c0f-a2b8-a662beb73737',
      groups: [
        'system:serviceaccounts',
        'system:serviceaccounts:argocd',
        'system:authenticated',
      ],
      extra: {
        'authentication.kubernetes.io/credential-id': ['JTI=68f5b890-ba3b-4e5c-8972-0e647176f8c6'],
      },
    },
    sourceIPs: [`10.244.${Math.floor(Math.random() * 256)}.${Math.floor(Math.random() * 256)}`],
    userAgent: 'argocd-application-controller/v2.13.1 (linux/amd64)',
    objectRef: { resource, namespace: project, name, apiVersion: 'v1' },
    responseStatus: { metadata: {}, code: 200 },
    requestReceivedTimestamp: now,
    stageTimestamp: now,
    annotations: {
      'authorization.k8s.io/decision': 'allow',
      'authorization.k8s.io/reason':
        'RBAC: allowed by ClusterRoleBinding "argocd-application-controller" of ClusterRole ' +
        '"cluster-admin" to ServiceAccount "argocd-application-controller/argocd"',
      'platform.miloapis.com/scope.name': project,
      'platform.miloapis.com/scope.type': 'Project',
    },
  };
}

function list() {
  const items = [];
  for (let i = 0; i < EVENTS; i++) {
    items.push(event());
  }
  return { kind: 'EventList', apiVersion: 'audit.k8s.io/v1', metadata: {}, items };
}

export default function () {
  const body = JSON.stringify(EVENTS === 1 ? event() : list());
  http.post(__ENV.URL, body, PARAMS);
}
