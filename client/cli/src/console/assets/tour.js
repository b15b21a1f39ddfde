// A guided tour: the words, each shown on the running cluster, in English and Korean.
import { el, api, attempt, isDev, mayWrite } from "./dom.js";

const TOPIC = "tour";

/** The first topic a person made, or any. */
const someTopic = (state) => [...state.topics.keys()].sort().find((name) => !name.startsWith("__")) ?? null;

const steps = [
  { at: "overview", show: "#brokers", en: ["Broker and cluster", "A broker is a process that keeps records and serves them to clients. All brokers that are registered in one ensemble are a cluster. Each card is one broker."],
    ko: ["브로커와 클러스터", "브로커는 레코드를 저장하고 클라이언트에게 제공하는 프로세스입니다. 하나의 앙상블에 등록된 모든 브로커가 클러스터를 이룹니다. 카드 하나가 브로커 하나입니다."] },
  { at: "overview", show: "#ensemble", en: ["Ensemble", "Coordinators agree on a small tree of facts: who is alive, who leads what. One of them leads and orders the writes; a write counts when most of them have it on disk. So one of three may die, and nothing is lost."],
    ko: ["앙상블", "코디네이터들은 누가 살아 있고 누가 무엇을 이끄는지 같은 사실을 작은 트리에 함께 보관합니다. 그중 하나가 리더가 되어 쓰기 순서를 정하고, 과반수가 디스크에 기록해야 쓰기가 확정됩니다. 그래서 셋 중 하나가 죽어도 아무것도 잃지 않습니다."] },
  { at: "tree?path=/brokers/ids", show: "#znode", en: ["Znode", "The tree consists of znodes: small values at paths, as in a file system. Below /brokers/ids every living broker has one. Click through the tree: everything the brokers know of each other is in it."],
    ko: ["지노드(znode)", "트리는 지노드로 이루어집니다. 파일 시스템처럼 경로마다 작은 값이 있습니다. /brokers/ids 아래에는 살아 있는 브로커마다 지노드가 하나씩 있습니다. 트리를 눌러 보세요. 브로커들이 서로에 대해 아는 것이 모두 여기에 있습니다."] },
  { at: "tree?path=/controller", show: "#znode", en: ["Session", "This znode is ephemeral: it lives with the session of the broker that made it. A session is a lease that the broker renews; when it dies, the lease ends, its znodes go, and the others notice. Whoever creates /controller first is the controller: it decides who leads which partition."],
    ko: ["세션", "이 지노드는 임시(ephemeral) 지노드로, 만든 브로커의 세션과 함께 존재합니다. 세션은 브로커가 계속 갱신하는 임대와 같습니다. 브로커가 죽으면 세션이 끝나고 지노드가 사라져 다른 브로커들이 알게 됩니다. /controller를 가장 먼저 만든 브로커가 컨트롤러가 되어 어느 파티션을 누가 이끌지 결정합니다."] },
  { at: "topics", show: "#topics", en: ["Topic", "A topic is a named stream of records. Producers append to it, consumers read it; records stay for as long as the topic's retention says, whether they were read or not."], make: true,
    ko: ["토픽", "토픽은 이름이 붙은 레코드 스트림입니다. 프로듀서가 뒤에 덧붙이고 컨슈머가 읽습니다. 레코드는 읽혔는지와 관계없이 토픽의 보존 기간 동안 남습니다."] },
  { at: "topic", show: "#chosen", en: ["Partition", "A topic is cut into partitions. Each is an ordered log of its own, and its records are numbered by offset. Records with the same key go to the same partition, so their order is kept."],
    ko: ["파티션", "토픽은 파티션으로 나뉩니다. 파티션마다 순서가 있는 독립된 로그이며 레코드에는 오프셋이라는 번호가 붙습니다. 키가 같은 레코드는 같은 파티션으로 가므로 순서가 유지됩니다."] },
  { at: "topic", show: "#chosen", en: ["Leader, follower, replication factor", "Each partition is kept by several brokers: as many as its replication factor says. One replica leads (filled) and takes the writes; the others follow (outlined) and fetch from it. Those that keep up are in sync: the ISR. Only one of them can become leader."],
    ko: ["리더, 팔로워, 복제 계수", "파티션은 복제 계수만큼 여러 브로커에 저장됩니다. 복제본 하나가 리더(채워진 칸)가 되어 쓰기를 받고, 나머지는 팔로워(테두리만 있는 칸)로서 리더에게서 가져옵니다. 잘 따라오는 복제본들을 ISR이라고 하며, 이들 중에서만 새 리더가 나옵니다."] },
  { at: "records", show: "#view", en: ["Producer and consumer", "A producer sends records, a consumer reads them from an offset on. Try it in a terminal: seq 1 100 | zweig produce tour, then read here, or follow."],
    ko: ["프로듀서와 컨슈머", "프로듀서는 레코드를 보내고 컨슈머는 오프셋부터 읽습니다. 터미널에서 seq 1 100 | zweig produce tour 를 실행한 다음 여기서 읽거나 follow로 따라가 보세요."] },
  { at: "groups", show: "#view", en: ["Group", "Consumers of a group share the partitions of a topic: each partition is read by one of them. The group commits how far it has read; the lag is what is left. Try: zweig consume tour --group readers."],
    ko: ["그룹", "한 그룹의 컨슈머들은 토픽의 파티션을 나누어 맡습니다. 파티션 하나는 그중 하나만 읽습니다. 그룹은 어디까지 읽었는지 커밋하며, 남은 양이 랙(lag)입니다. zweig consume tour --group readers 를 실행해 보세요."] },
  { at: "overview", show: "#partitions", kill: true, en: ["Fail-over", "Each cell is a partition in the colour of its leader. When a broker dies, its cells change colour: the controller makes another replica that was in sync the leader. Watch the cells and the lines below."],
    ko: ["페일오버", "칸 하나가 파티션이고 색은 리더를 나타냅니다. 브로커가 죽으면 칸의 색이 바뀝니다. 컨트롤러가 동기화된 다른 복제본을 리더로 정하기 때문입니다. 칸과 아래의 기록을 지켜보세요."] },
  { at: "overview", show: "#stories", en: ["What happened, and why", "Every change is a line with its cause: who went, who leads instead, who caught up. That was the tour. Nothing that was acknowledged was lost."],
    ko: ["무슨 일이 왜 일어났는가", "모든 변화가 이유와 함께 한 줄로 남습니다. 누가 사라졌고, 누가 대신 이끌며, 누가 따라잡았는지 보입니다. 이것으로 안내를 마칩니다. 확인 응답을 받은 것은 아무것도 잃지 않았습니다."] },
];

const words = {
  en: { next: "Next", back: "Back", end: "End", make: "Create the topic", kill: "Kill a broker", start: "Start it again", other: "한국어" },
  ko: { next: "다음", back: "이전", end: "끝내기", make: "토픽 만들기", kill: "브로커 하나 죽이기", start: "다시 시작하기", other: "English" },
};

let language = (navigator.language || "en").startsWith("ko") ? "ko" : "en";
let at = -1;
let killed = null;
let known = null;
let lamp = null;
let shown = false;

export function begin(state) {
  known = state;
  at = 0;
  go();
}

export function end() {
  at = -1;
  clearInterval(lamp);
  document.getElementById("tour").hidden = true;
  unlight();
}

const unlight = () => document.querySelectorAll(".lit").forEach((element) => element.classList.remove("lit"));

/** Shows the view of this step, and what it is about. */
function go() {
  const step = steps[at];
  const topic = someTopic(known);
  const hash = step.at === "topic" ? `topics${topic ? `?topic=${encodeURIComponent(topic)}` : ""}` : step.at;
  if (location.hash.slice(1) !== hash) location.hash = hash;
  draw();
  unlight();
  shown = false;
  clearInterval(lamp);
  lamp = setInterval(() => light(step.show), 100);
}

/** Views draw anew when they want to: what a step is about is lit again then. */
function light(selector) {
  const target = document.querySelector(selector);
  if (!target || target.classList.contains("lit")) return;
  unlight();
  target.classList.add("lit");
  if (!shown) target.scrollIntoView({ block: "center" });
  shown = true;
}

function draw() {
  const box = document.getElementById("tour");
  const step = steps[at];
  const [title, text] = step[language];
  const say = words[language];
  const button = (label, click, kind) => el("button", { type: "button", class: kind ?? null, click }, label);
  box.hidden = false;
  box.replaceChildren(
    el("h2", {}, `${at + 1}/${steps.length} ${title}`), el("p", { lang: language }, text),
    el("div", { class: "bar" },
      at > 0 ? button(say.back, () => { at -= 1; go(); }) : null,
      at + 1 < steps.length ? button(say.next, () => { at += 1; go(); }, "primary") : null,
      step.make && mayWrite && !known.topics.has(TOPIC) ? button(say.make, make) : null,
      step.kill && mayWrite && isDev ? button(killed === null ? say.kill : say.start, killOrStart) : null,
      button(say.other, () => { language = language === "en" ? "ko" : "en"; draw(); }),
      button(say.end, end)));
}

async function make() {
  const replicas = Math.min(3, known.brokers.brokers.length);
  const body = { name: TOPIC, partitions: 6, replication_factor: replicas };
  await attempt(() => api("POST", "/api/topics", body), (done) => `topic ${done.created} was created`);
  draw();
}

/** Kills a broker that leads something and is not the controller, so that one thing happens at a time. */
async function killOrStart() {
  const brokers = known.brokers.brokers.map((broker) => broker.id);
  const line = killed === null
    ? `kill broker ${brokers.find((id) => id !== known.brokers.controller) ?? brokers[0]}`
    : `start broker ${killed}`;
  const done = await attempt(() => api("POST", "/api/orders", line), (answer) => answer.said);
  if (done) killed = killed === null ? Number(line.split(" ").at(-1)) : null;
  draw();
}
