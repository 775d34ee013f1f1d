//go:build tools

package testbed

import _ "github.com/prometheus/prometheus/cmd/prometheus"
