//go:build tools

package testbed

import _ "github.com/prometheus/alertmanager/cmd/alertmanager"
