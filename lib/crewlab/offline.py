"""The switches that keep an app from calling anybody outside this machine (crewai 1.15.30).

With ``verbose=True`` CrewAI asks the package index for a newer release
(events/utils/console_formatter.py:74); LangChain sends traces to LangSmith, and the name here is
the one it looks at before all others (langsmith/utils.py, tracing_is_enabled); Chroma reports its
use; boto3 without credentials asks the cloud's metadata service for some.
"""

OFFLINE: dict[str, str] = {
    "ANONYMIZED_TELEMETRY": "False",
    "AWS_EC2_METADATA_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LANGSMITH_TRACING_V2": "false",
    "OTEL_SDK_DISABLED": "true",
}
