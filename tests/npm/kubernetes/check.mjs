// node check.mjs FILE…: every document of the YAML files is held against the Kubernetes API twice, because each check is blind where the other sees: its JSON schema
// (enumerations, required fields) and its TypeScript types (keys that do not exist). Then what schemas do not know: names that must meet. Exit code 1 and a line for each
// finding.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import yaml from "js-yaml";
import ts from "typescript";

const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));
const findings = [];
const documents = process.argv.slice(2).flatMap((file) =>
    yaml.loadAll(readFileSync(file, "utf8")).filter((d) => d != null && d.kind !== "Kustomization").map((value) => ({ file, value })));
const nameOf = (d) => `${d.file}: ${d.value.kind} ${d.value.metadata?.name}`;

function bySchema(d) {
    const [group, version] = d.value.apiVersion.includes("/") ? d.value.apiVersion.split("/") : ["", d.value.apiVersion];
    try {
        const Kind = require(`kubernetes-models/${group === "" ? "" : group + "/"}${version}/${d.value.kind}`)[d.value.kind];
        new Kind(d.value).validate();
    } catch (error) {
        findings.push(`${nameOf(d)}: schema: ${error.message}`);
    }
}

function byTypes() {
    const file = join(here, "generated.ts");
    const lines = documents.map((d, i) => {
        const [group, version] = d.value.apiVersion.includes("/") ? d.value.apiVersion.split("/") : ["core", d.value.apiVersion];
        return `export const d${i}: import("kubernetes-types/${group.replace(/\..*/, "")}/${version}").${d.value.kind} = ${JSON.stringify(d.value)};`;
    });
    writeFileSync(file, lines.join("\n"));
    const program = ts.createProgram([file], { noEmit: true, strict: true, moduleResolution: ts.ModuleResolutionKind.NodeJs, types: [] });
    for (const found of ts.getPreEmitDiagnostics(program)) {
        const line = found.file === undefined ? 0 : found.file.getLineAndCharacterOfPosition(found.start).line;
        findings.push(`${found.file === undefined ? "types" : nameOf(documents[line])}: types: ${ts.flattenDiagnosticMessageText(found.messageText, " ")}`);
    }
}

function demand(d, condition, text) {
    if (!condition) findings.push(`${nameOf(d)}: ${text}`);
}

function byHouse(d) {
    const spec = d.value.spec?.template?.spec;
    if (spec === undefined) return;
    const volumes = new Map(spec.volumes.map((v) => [v.name, v]));
    demand(d, spec.securityContext?.runAsNonRoot === true, "does not forbid root");
    demand(d, spec.automountServiceAccountToken === false, "mounts a token of the API server that nobody needs");
    for (const c of [...spec.initContainers, ...spec.containers]) {
        demand(d, c.securityContext?.allowPrivilegeEscalation === false && c.securityContext.readOnlyRootFilesystem === true &&
            c.securityContext.capabilities?.drop?.[0] === "ALL", `container ${c.name} is not locked down`);
        demand(d, c.resources?.requests?.cpu && c.resources.requests.memory && c.resources.limits?.memory, `container ${c.name} lacks resources`);
        for (const m of c.volumeMounts) demand(d, volumes.has(m.name), `container ${c.name} mounts ${m.name}, which is no volume`);
    }
    const labels = d.value.spec.selector?.matchLabels ?? {};
    for (const [key, value] of Object.entries(labels))
        demand(d, d.value.spec.template.metadata.labels[key] === value, `its selector wants ${key}=${value}, which its pods do not have`);
}

// Names that must meet: only in a whole set, as kustomize puts it together.
function together() {
    const find = (kind, part) => documents.find((d) => d.value.kind === kind && d.value.metadata.name.includes(part));
    const cluster = find("ConfigMap", "cluster"), set = find("StatefulSet", "server"), service = find("Service", "server");
    if (cluster === undefined) return;
    const data = cluster.value.data;
    const port = String(service.value.spec.ports[0].port);
    demand(cluster, data.SHELFLIFE_SERVERS === String(set.value.spec.replicas), "SHELFLIFE_SERVERS is not the StatefulSet's replicas");
    demand(cluster, data.SHELFLIFE_COORDINATOR === `${set.value.metadata.name}-0.${set.value.spec.serviceName}:${port}`, "SHELFLIFE_COORDINATOR is not server 0");
    demand(service, service.value.metadata.name === set.value.spec.serviceName, "is not the StatefulSet's serviceName");
    const hex = Number(port).toString(16).toUpperCase().padStart(4, "0");
    demand(set, JSON.stringify(set.value.spec.template.spec.containers[0].readinessProbe).includes(`:${hex} `), `its probe does not look for port ${port}`);
    const claims = documents.filter((d) => d.value.kind === "PersistentVolumeClaim").map((d) => d.value.metadata.name);
    const maps = documents.filter((d) => d.value.kind === "ConfigMap").map((d) => d.value.metadata.name);
    for (const d of documents)
        for (const v of d.value.spec?.template?.spec?.volumes ?? []) {
            demand(d, v.persistentVolumeClaim === undefined || claims.includes(v.persistentVolumeClaim.claimName), `volume ${v.name} has no claim`);
            demand(d, v.configMap === undefined || maps.includes(v.configMap.name), `volume ${v.name} has no config map`);
        }
}

documents.forEach(bySchema);
byTypes();
documents.forEach(byHouse);
together();
findings.forEach((text) => console.log(text));
if (findings.length === 0) console.log(`${documents.length} documents hold`);
process.exit(findings.length === 0 ? 0 : 1);
