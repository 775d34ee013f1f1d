//go:build tools

package testbed

import _ "github.com/fluxcd/kustomize-controller"
