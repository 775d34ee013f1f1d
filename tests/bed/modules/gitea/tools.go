//go:build tools

package testbed

import _ "code.gitea.io/gitea"
