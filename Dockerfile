# The image of operator, gateway and workers: docker build -t pik . (podman and buildah bud do as well)
#
# BASE     any image with Python 3.11 or newer; nothing else is asked of it, not even a shell
# BUILDER  the same Python with pip, where BASE has none
# --target with-functions   has the packages of `make lambdas` in it
# A private package index: --secret id=pip,src=$HOME/.config/pip/pip.conf
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BUILDER} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
WORKDIR /build
RUN python3 -m venv --without-pip /opt/pik

# dependencies first: they change less often than pik
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print("\n".join(p["dependencies"] + p["optional-dependencies"]["operator"]))' > requirements.txt \
 && python3 -m pip --python /opt/pik/bin/python install --constraint constraints.txt --requirement requirements.txt

# What nothing of pik loads, which is a third of it: tests/pods/test_chart.py holds the rest to be enough.
RUN cd /opt/pik/lib/python3*/site-packages \
 && rm -r pyarrow/tests pyarrow/include pyarrow/includes pyarrow/src \
      pyarrow/*flight* pyarrow/*s3* pyarrow/*_cpp_tests* kubernetes/aio kubernetes/client/api \
 && find pyarrow -name '*.p[xy][dxi]' -delete \
 && find botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name dynamodb ! -name s3 ! -name sqs ! -name sts ! -name 'sso*' ! -name signin ! -name resourcegroupstaggingapi \
      ! -name kinesis ! -name lambda ! -name events -exec rm -r {} + \
 && find boto3/data -mindepth 1 -maxdepth 1 -type d ! -name dynamodb ! -name s3 ! -name sqs -exec rm -r {} +

COPY README.md LICENSE ./
COPY operator operator
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip --python /opt/pik/bin/python install --no-deps --prefix /app .

# The root file system is read-only at run time, so bytecode is written now; by hash, so that it is the same in
# every build and no file's time matters.
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/pik/lib /app/lib


FROM ${BASE} AS pik
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pik" \
      org.opencontainers.image.description="Pipeline Investigation Kit: operator, gateway and workers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /opt/pik /opt/pik
COPY --from=builder /app /opt/pik
ENV PATH=/opt/pik/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["pik"]


# With the packages of AWS Lambda functions, for streams that ask for them:
# make lambdas && docker build -t pik --target with-functions .
FROM pik AS with-functions
COPY build/lambdas /usr/share/pik/functions
ENV PIK_FUNCTIONS=/usr/share/pik/functions


FROM pik
