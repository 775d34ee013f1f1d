//! Names, labels and raw objects of the cluster: what looking and acting agree on.
