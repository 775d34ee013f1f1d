//! What keeps a new template from rolling out by itself.
