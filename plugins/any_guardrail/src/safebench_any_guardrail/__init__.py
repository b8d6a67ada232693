"""Guards behind an interface: any-guardrail's, and OpenAI's moderation API."""
