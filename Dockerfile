# One static binary and nothing else: no shell, no libc, no package. Run as nobody, with a root file system
# that is read only. TLS trusts the CA of the Pod's service account.
FROM docker.io/library/rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN install -D "$(deploy/static)" /image/incumbent

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
ENTRYPOINT ["/incumbent"]
