//! Who sends requests to the API server: people, operators, and the parts of Kubernetes itself.

use crate::draw::mix;
use crate::prose::Prose;
use crate::world::{Person, Tenant, Thing};

/// One user of a control plane, as its authenticator sees them.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'w> {
    Person(Person<'w>, Client),
    Operator(&'static Operator),
    /// A controller of kube-controller-manager, with its own service account in kube-system.
    Controller(&'static str),
    Node(u32),
    ControllerManager,
    Scheduler,
    Apiserver,
}

/// The program that a person uses, known by its user agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub &'static str);

/// A workload that works on the cluster with a service account.
#[derive(Debug, PartialEq, Eq)]
pub struct Operator {
    pub name: &'static str,
    pub namespace: &'static str,
    pub role: &'static str,
    pub user_agent: &'static str,
}

/// The credential that a user authenticated with, as `authentication.kubernetes.io/credential-id`
/// names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// SHA-256 of a client certificate, as two halves.
    Certificate(u128, u128),
    /// ID of a token.
    Token(u128),
}

/// The programs that people use, with their shares.
pub const CLIENTS: [(u32, Client); 6] = [
    (45, Client("kubectl/v1.32.4 (linux/amd64) kubernetes/4cb5f07")),
    (25, Client("kubectl/v1.33.1 (darwin/arm64) kubernetes/8adc0f0")),
    (8, Client("kubectl/v1.31.9 (windows/amd64) kubernetes/b1a4ee1")),
    (8, Client("k9s/v0.50.6 (darwin/arm64) kubernetes/$Format")),
    (8, Client("Helm/3.17.3")),
    (6, Client("OpenLens/6.5.2 node-fetch/1.0")),
];

/// Operators, the busiest first.
pub static OPERATORS: [Operator; 9] = [
    Operator {
        name: "argocd-application-controller",
        namespace: "argocd",
        role: "cluster-admin",
        user_agent: "argocd-application-controller/v2.13.1 (linux/amd64)",
    },
    Operator {
        name: "kustomize-controller",
        namespace: "flux-system",
        role: "cluster-admin",
        user_agent: "kustomize-controller/v1.5.1 (linux/amd64) kubernetes/$Format",
    },
    Operator {
        name: "external-secrets",
        namespace: "external-secrets",
        role: "external-secrets-controller",
        user_agent: "external-secrets/v0.14.4 (linux/amd64) kubernetes/$Format",
    },
    Operator {
        name: "prometheus-operator",
        namespace: "monitoring",
        role: "prometheus-operator",
        user_agent: "PrometheusOperator/0.81.0",
    },
    Operator {
        name: "kube-state-metrics",
        namespace: "monitoring",
        role: "kube-state-metrics",
        user_agent: "kube-state-metrics/v2.14.0 (linux/amd64) kube-state-metrics/0000000",
    },
    Operator {
        name: "cert-manager",
        namespace: "cert-manager",
        role: "cert-manager-controller-certificates",
        user_agent: "cert-manager-certificates-trigger/v1.17.1 (linux/amd64) cert-manager/01c2b3d",
    },
    Operator {
        name: "tekton-pipelines-controller",
        namespace: "tekton-pipelines",
        role: "tekton-pipelines-controller-cluster-access",
        user_agent: "controller/v0.68.0 (linux/amd64) kubernetes/d4e5f6a",
    },
    Operator {
        name: "keda-operator",
        namespace: "keda",
        role: "keda-operator",
        user_agent: "keda/v2.16.1 (linux/amd64) kubernetes/$Format",
    },
    Operator {
        name: "velero",
        namespace: "velero",
        role: "cluster-admin",
        user_agent: "velero-server/v1.15.2 (linux/amd64) 804d73c",
    },
];

impl Client {
    /// Whether people open shells in pods with it.
    pub fn opens_shells(self) -> bool {
        !self.0.starts_with("Helm")
    }
}

impl Actor<'_> {
    pub fn username(&self, out: &mut impl Prose) {
        match self {
            Self::Person(person, _) => person_email(person, out),
            Self::Operator(operator) => {
                out.plain("system:serviceaccount:");
                out.plain(operator.namespace);
                out.plain(":");
                out.plain(operator.name);
            }
            Self::Controller(name) => {
                out.plain("system:serviceaccount:kube-system:");
                out.plain(name);
            }
            Self::Node(node) => {
                out.plain("system:node:node-");
                out.number(u64::from(*node));
            }
            Self::ControllerManager => out.plain("system:kube-controller-manager"),
            Self::Scheduler => out.plain("system:kube-scheduler"),
            Self::Apiserver => out.plain("system:apiserver"),
        }
    }

    /// UID of the user, if the authenticator gives one. It gives none to users of certificates.
    /// `key` is the user's own key.
    pub fn uid(&self, key: u64) -> Option<u128> {
        match self {
            Self::Person(..) | Self::Operator(_) | Self::Controller(_) | Self::Apiserver => {
                Some(uuid_of(key))
            }
            Self::Node(_) | Self::ControllerManager | Self::Scheduler => None,
        }
    }

    /// Calls `each` with the pieces of every group of the user, in order.
    pub fn groups(&self, mut each: impl FnMut(&[&str])) {
        match self {
            Self::Person(person, _) => each(&[person.team]),
            Self::Operator(operator) => {
                each(&["system:serviceaccounts"]);
                each(&["system:serviceaccounts:", operator.namespace]);
            }
            Self::Controller(_) => {
                each(&["system:serviceaccounts"]);
                each(&["system:serviceaccounts:kube-system"]);
            }
            Self::Node(_) => each(&["system:nodes"]),
            Self::Apiserver | Self::ControllerManager | Self::Scheduler => {}
        }
        each(&["system:authenticated"]);
        if let Self::Apiserver = self {
            each(&["system:masters"]);
        }
    }

    /// Whether the user came to the control plane through the platform. The platform then writes
    /// into the user's extra fields whose control plane it is. The control plane's own parts do not
    /// come through it.
    pub fn came_through_platform(&self) -> bool {
        matches!(self, Self::Person(..))
    }

    /// What the user authenticated with. The API server's own loopback client has no credential.
    /// `key` is the user's own key.
    pub fn credential(&self, key: u64) -> Option<Credential> {
        let key = mix(key, 1);
        match self {
            Self::Apiserver => None,
            Self::Operator(_) | Self::Controller(_) => Some(Credential::Token(uuid_of(key))),
            Self::Person(..) | Self::Node(_) | Self::ControllerManager | Self::Scheduler => {
                Some(Credential::Certificate(wide(key), wide(mix(key, 2))))
            }
        }
    }

    /// Writes the user agent. It says "leader-election" where a part of the control plane elects
    /// its leader.
    pub fn user_agent(&self, electing: bool, out: &mut impl Prose) {
        match self {
            Self::Person(_, client) => out.plain(client.0),
            Self::Operator(operator) => out.plain(operator.user_agent),
            Self::Controller(name) => {
                out.plain("kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/5a1b2c3/");
                out.plain("system:serviceaccount:kube-system:");
                out.plain(name);
            }
            Self::Node(_) => out.plain("kubelet/v1.36.2 (linux/amd64) kubernetes/5a1b2c3"),
            Self::ControllerManager => {
                out.plain("kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/5a1b2c3/");
                out.plain(if electing { "leader-election" } else { "shared-informers" });
            }
            Self::Scheduler => {
                out.plain("kube-scheduler/v1.36.2 (linux/amd64) kubernetes/5a1b2c3/");
                out.plain(if electing { "leader-election" } else { "scheduler" });
            }
            Self::Apiserver => {
                out.plain("kube-apiserver/v1.36.2 (linux/amd64) kubernetes/5a1b2c3");
            }
        }
    }

    /// Writes why the authorizer allowed the request. The node authorizer and membership in
    /// `system:masters` leave no reason.
    ///
    /// Source: annotation `authorization.k8s.io/reason` of real clusters.
    pub fn grant(&self, namespace: Option<&str>, out: &mut impl Prose) {
        match self {
            Self::Node(_) | Self::Apiserver => {}
            Self::Person(person, _) => person_grant(person, namespace, out),
            Self::Operator(operator) => {
                cluster_grant(&[operator.name], &[operator.role], out);
                account(operator.name, operator.namespace, out);
            }
            Self::Controller(name) => {
                cluster_grant(&["system:controller:", name], &["system:controller:", name], out);
                account(name, "kube-system", out);
            }
            Self::ControllerManager | Self::Scheduler => {
                let name = match self {
                    Self::Scheduler => "system:kube-scheduler",
                    _ => "system:kube-controller-manager",
                };
                cluster_grant(&[name], &[name], out);
                out.plain(" to User ");
                out.quoted(name);
            }
        }
    }

    /// A number that belongs to this user of the tenant. UID and credentials follow from it.
    pub fn key(&self, tenant: &Tenant) -> u64 {
        match self {
            Self::Person(person, _) => tenant.key_of(
                Thing::PersonAsUser,
                u64::from(person.index) | u64::from(person.term) << 32,
            ),
            Self::Operator(operator) => {
                tenant.key_of(Thing::OperatorAsUser, name_key(operator.name))
            }
            Self::Controller(name) => tenant.key_of(Thing::ControllerAsUser, name_key(name)),
            Self::Node(node) => tenant.key_of(Thing::NodeAsUser, u64::from(*node)),
            Self::ControllerManager => tenant.key_of(Thing::PartAsUser, 0),
            Self::Scheduler => tenant.key_of(Thing::PartAsUser, 1),
            Self::Apiserver => tenant.key_of(Thing::PartAsUser, 2),
        }
    }
}

/// Makes a version 4 UUID from a key.
pub fn uuid_of(key: u64) -> u128 {
    let version_and_variant = !(0xf << 76 | 0b11 << 62);
    wide(key) & version_and_variant | 4 << 76 | 0b10 << 62
}

fn wide(key: u64) -> u128 {
    u128::from(mix(key, 3)) << 64 | u128::from(mix(key, 4))
}

fn name_key(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

fn person_email(person: &Person<'_>, out: &mut impl Prose) {
    for piece in [person.first, ".", person.last, "@", person.domain] {
        out.plain(piece);
    }
}

/// Writes a person's grant. A third of the people have a binding of their own, the others have one
/// through their team.
fn person_grant(person: &Person<'_>, namespace: Option<&str>, out: &mut impl Prose) {
    let Some(namespace) = namespace else {
        cluster_grant(&[person.team, "-read"], &["cluster-reader"], out);
        out.plain(" to Group ");
        out.quoted(person.team);
        return;
    };
    let by_name = person.index.is_multiple_of(3);
    out.plain("RBAC: allowed by RoleBinding ");
    out.quote();
    out.plain(if by_name { person.first } else { person.team });
    out.plain(if by_name { "-admin/" } else { "-edit/" });
    out.plain(namespace);
    out.quote();
    out.plain(" of ClusterRole ");
    out.quoted(if by_name { "admin" } else { "edit" });
    if by_name {
        out.plain(" to User ");
        out.quote();
        person_email(person, out);
        out.quote();
    } else {
        out.plain(" to Group ");
        out.quoted(person.team);
    }
}

fn cluster_grant(binding: &[&str], role: &[&str], out: &mut impl Prose) {
    let mut quoted = |intro: &str, pieces: &[&str]| {
        out.plain(intro);
        out.quote();
        for piece in pieces {
            out.plain(piece);
        }
        out.quote();
    };
    quoted("RBAC: allowed by ClusterRoleBinding ", binding);
    quoted(" of ClusterRole ", role);
}

fn account(name: &str, namespace: &str, out: &mut impl Prose) {
    out.plain(" to ServiceAccount ");
    out.quote();
    out.plain(name);
    out.plain("/");
    out.plain(namespace);
    out.quote();
}
