# Trunkcall with its command as the entry point: docker run -p 8000:8000 -e TRUNKCALL_KEY=… IMAGE
FROM python:3.13-slim

# llama.cpp's wheel needs the system's OpenMP library.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/trunkcall
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir hatchling && pip install --no-cache-dir --no-deps --no-build-isolation .

RUN useradd --create-home --uid 1000 trunkcall && install -d -o trunkcall /data
USER trunkcall
ENV TRUNKCALL_HOME=/data HF_HOME=/data/huggingface TRUNKCALL_KEYS=env:TRUNKCALL_KEY
VOLUME /data
WORKDIR /home/trunkcall
EXPOSE 8000
ENTRYPOINT ["trunkcall"]
# A key is needed outside loopback: set TRUNKCALL_KEY.
CMD ["up", "--host", "0.0.0.0"]
