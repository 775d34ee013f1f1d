//go:build tools

package testbed

import _ "github.com/argoproj/argo-cd/v3/cmd"
