//! A forge, and the engines that follow it.
