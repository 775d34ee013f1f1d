//go:build tools

package testbed

import _ "github.com/projectcontour/contour/cmd/contour"
