"""What a trained model is used for, beside new series."""
