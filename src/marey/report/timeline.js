const video = document.querySelector("video");
const tracks = document.querySelector(".tracks");
const now = document.querySelector(".now");
const segments = [...document.querySelectorAll("button[data-start]")];
const duration = Number(tracks.dataset.duration);

for (const one of segments) {
  one.addEventListener("click", () => {
    video.currentTime = Number(one.dataset.start);
    video.play().catch(() => {});
  });
}

function follow() {
  const at = video.currentTime;
  const names = parseFloat(getComputedStyle(tracks).getPropertyValue("--names"));
  now.style.left = names + (tracks.clientWidth - names) * at / duration + "px";
  for (const one of segments) {
    one.classList.toggle("on", Number(one.dataset.start) <= at && at < Number(one.dataset.end));
  }
}

for (const kind of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(kind, follow);
window.addEventListener("resize", follow);
follow();
