//! What Alertmanager sends, counted.
