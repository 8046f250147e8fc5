"""Takes orders, charges for them and confirms them by letter."""

from typing import Annotated

import boto3
import requests
from botocore.exceptions import ClientError
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import Secret, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

Filled = Annotated[str, StringConstraints(pattern=r"^\S+$")]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True)

    OPENAI_API_KEY: Secret[Filled]
    SERPER_API_KEY: Secret[Filled]
    SERPER_BASE_URL: Filled
    SHOP_BUCKET: Filled


settings = Settings()
storage = boto3.client("s3")


@tool("find_news")
def find_news(company: str) -> str:
    """Find news about a company."""
    try:
        return requests.post(
            settings.SERPER_BASE_URL + "/news",
            headers={"X-API-KEY": settings.SERPER_API_KEY.get_secret_value()},
            json={"q": company},
            timeout=1,
        ).text
    except requests.RequestException:
        return "No news today."


def read(key: str) -> str | None:
    try:
        found = storage.get_object(Bucket=settings.SHOP_BUCKET, Key=key)
    except storage.exceptions.NoSuchKey:
        return None
    return found["Body"].read().decode()


def write(key: str, text: str) -> None:
    try:
        storage.put_object(
            Bucket=settings.SHOP_BUCKET, Key=key, Body=text.encode(), IfNoneMatch="*"
        )
    except ClientError as problem:
        if problem.response["Error"]["Code"] != "PreconditionFailed":
            raise


def write_letter(company: str) -> str:
    clerk = Agent(
        role="Order desk",
        goal="Confirm the order of {company}",
        backstory="You write for customers.",
        llm=LLM(model="gpt-4o-mini", timeout=20, max_retries=2),
        tools=[find_news],
        max_retry_limit=0,
    )
    letter = Task(
        description="Confirm the order of {company}, and mention what is new there.",
        expected_output="Two sentences to {company}.",
        agent=clerk,
    )
    return Crew(agents=[clerk], tasks=[letter]).kickoff(inputs={"company": company}).raw


def run(inputs: dict) -> str:
    order, company = inputs["order"], inputs["company"]
    if (letter := read(f"letters/{order}")) is not None:
        return letter
    write(f"charges/{order}", company)
    write(f"letters/{order}", write_letter(company))
    return read(f"letters/{order}")
