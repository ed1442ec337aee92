"""First-party plugin for tables: one family, and the pretraining that makes its backbones."""
