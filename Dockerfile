# One image a role: docker build --target {api,dispatcher,worker,torchserve}
# Everything is installed from the hash locks except torch, whose CPU and CUDA builds differ: pip fetches the one that
# its settings point to (build arguments PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), the CUDA build where they say nothing.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/mintage/bin:$PATH MINTAGE_STATE_DIR=/var/lib/mintage
RUN groupadd --gid 10001 mintage && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin mintage \
    && install -d -o mintage -g mintage /var/lib/mintage /var/lib/mintage/archives /var/lib/mintage/outputs \
    && install -d -m 700 -o mintage -g mintage /var/lib/mintage/sockets \
    && python3 -m venv /opt/mintage

FROM base AS service
COPY locks/service.txt /tmp/service.txt
RUN pip install --quiet --require-hashes --requirement /tmp/service.txt
COPY pyproject.toml README.md /src/
COPY protos /src/protos
COPY training /src/training
COPY handlers /src/handlers
COPY service /src/service
RUN pip install --quiet --no-deps --no-build-isolation /src/protos /src
USER mintage
WORKDIR /var/lib/mintage

FROM service AS api
EXPOSE 50051
CMD ["mintage", "serve", "api"]

FROM service AS dispatcher
CMD ["mintage", "serve", "dispatcher"]

FROM service AS worker
CMD ["mintage", "serve", "worker"]

FROM base AS torchserve
ARG PIP_EXTRA_INDEX_URL
COPY locks/torchserve.txt /tmp/torchserve.txt
RUN pip install --quiet --require-hashes --requirement /tmp/torchserve.txt && pip install --quiet torch==2.13.0
COPY --from=service /src /src
RUN pip install --quiet --no-deps --no-build-isolation /src/protos /src
USER mintage
WORKDIR /var/lib/mintage
# The models that ship with the project; a new archive volume begins with them.
COPY --chown=mintage models /usr/share/mintage/models
RUN mintage pack /usr/share/mintage/models/digits-generator --name digits --kind generator && \
    mintage pack /usr/share/mintage/models/digits-ssgan --name digits --kind classifier && \
    mintage pack /usr/share/mintage/models/digits-student --name digits-student --kind classifier && \
    mintage pack /usr/share/mintage/models/digits-generator --name digits --kind discriminator && \
    mintage pack /usr/share/mintage/models/cats-dcgan --name cats --kind generator && \
    mintage pack /usr/share/mintage/models/cats-dcgan --name cats --kind discriminator && \
    mintage pack /usr/share/mintage/models/faces-dcgan --name faces --kind generator && \
    mintage pack /usr/share/mintage/models/faces-dcgan --name faces --kind discriminator && \
    mintage pack /usr/share/mintage/models/face-neuron --name face --kind neurons
CMD ["mintage", "serve", "torchserve"]
