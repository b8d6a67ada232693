"""LogTokU: uncertainty of a guard's verdict, from logits as Dirichlet evidence."""
