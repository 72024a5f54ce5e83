"""Spark with the Cassandra connector, written by JDBC; the job alone is timed, the start of Spark is not.

Runs on its own, in the peers' environment: python spark_job.py TABLE JARS (comma separated)
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from guide_psycopg2 import COLUMNS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f


def start(jars: str) -> SparkSession:
    """Spark on this machine, as many tasks at once as there are cores."""
    env = os.environ
    settings = {
        "spark.jars": jars,
        "spark.ui.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.cassandra.connection.host": env["CASSANDRA_CONTACT_POINTS"],
        "spark.cassandra.connection.port": env["CASSANDRA_PORT"],
        "spark.cassandra.connection.localDC": env["CASSANDRA_LOCAL_DC"],
    }
    builder = SparkSession.builder.master("local[2]").appName("bench")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    for name in ("username", "password"):  # the others become arguments of a process, which anybody may read
        spark.conf.set(f"spark.cassandra.auth.{name}", env[f"CASSANDRA_{name.upper()}"])
    return spark


def frame(spark: SparkSession, table: str) -> DataFrame:
    """The source table, its map as JSON text and its vector as pgvector's text."""
    options = {"keyspace": os.environ["ASTRA_DB_KEYSPACE"], "table": table}
    rows = spark.read.format("org.apache.spark.sql.cassandra").options(**options).load().select(*COLUMNS[table].split(", "))
    if table == "songs":
        return rows.withColumn("attributes", f.to_json("attributes"))
    return rows.withColumn("embedding", f.concat(f.lit("["), f.array_join(f.col("embedding"), ","), f.lit("]")))


def write(rows: DataFrame, table: str) -> None:
    """Append by JDBC, a page of 1,000 rows a statement."""
    env = os.environ
    url = f"jdbc:postgresql://{env['POSTGRES_HOST']}:{env['POSTGRES_PORT']}/{env['POSTGRES_DATABASE']}"
    options = {
        "url": f"{url}?stringtype=unspecified&reWriteBatchedInserts=true&sslmode={env['POSTGRES_SSLMODE']}",
        "dbtable": table,
        "user": env["POSTGRES_USER"],
        "password": env["POSTGRES_PASSWORD"],
        "driver": "org.postgresql.Driver",
        "batchsize": "1000",
    }
    rows.write.format("jdbc").mode("append").options(**options).save()


def cpu(spark: SparkSession) -> float:
    """CPU seconds of the JVM and of this process."""
    jvm = spark.sparkContext._gateway.proc.pid  # a script that becomes java
    fields = Path(f"/proc/{jvm}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()


def main(table: str, jars: str) -> None:
    """Copy a table."""
    spark = start(jars)
    begin, used = time.monotonic(), cpu(spark)
    write(frame(spark, table), table)
    cost = {"seconds": time.monotonic() - begin, "cpu": cpu(spark) - used}
    sys.stdout.write(f"\n{json.dumps(cost)}\n")
    sys.stdout.flush()
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
