"""HTTP server of a matcher: request formats that clients already use, and a bounded queue before the model."""
